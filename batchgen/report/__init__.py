"""What people see of a job; reads the job's files, makes no image.

forecast        what `plan` prints
status          how a job is doing
summary         what all images of a job have in common, and in what they differ
lettering       text of any script, cut to its place
layout          where everything on a contact sheet is
contact_sheets  the images of a job, small, with captions
"""
