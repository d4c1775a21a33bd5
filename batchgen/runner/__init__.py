"""One start of a job.

identity       what identifies a job, whether it is finished, what has changed
result         what a job ends with
stopping       signals, the clock, a device that hangs
progress       the bar, the line, status.json
disk_space     room on the disk
job_log        the log of a job
memory_ladder  what is reduced, in which order, when the device is out of memory
maker          one batch through the pipeline: memory ladder, splitting, blank pictures
rows           the metadata or failure row of an image
saver          encoding, writing and committing in the background
failures       what follows from a failure: held back, charged, retried, or the job stops
commits        image files, rows and events of what was made
worker         the loop over batches
start          lock, scan, work, compaction
swept          the values of a grid's points
grid           a folder of jobs
reproduction   an image made again, and compared
"""
