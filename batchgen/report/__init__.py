"""A finished or a running job as something to look at; reads the job's files, makes no image.

summary        what all images of a job have in common, and in what they differ
lettering      text of any script, cut to its place
layout         where everything on a contact sheet is
sheets         contact sheets: the images of a job, small, with captions
"""
