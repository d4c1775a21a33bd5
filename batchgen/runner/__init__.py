"""One start of a job.

job            what it is, whether it is finished, what has changed
stopping       signals, the clock, a device that hangs
progress       the bar, the line, status.json
space          room on the disk
log            the log of a job
ladder         what to give up when the device has no room
maker          one batch through the pipeline, whatever it takes
rows           what is committed of an image, made or failed
saver          encoding, writing and committing in the background
worker         the loop over batches
start          lock, survey, work, and order in the folder after
"""
