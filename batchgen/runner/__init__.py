"""One start of a job.

identity       what a job is, whether it is finished, what has changed
result         what a job ends with
stopping       signals, the clock, a device that hangs
progress       the bar, the line, status.json
disk_space     room on the disk
job_log        the log of a job
memory_ladder  what to give up when the device has no room
maker          one batch through the pipeline: memory ladder, splitting, blank pictures
rows           what is committed of an image, made or failed
saver          encoding, writing and committing in the background
failures       what a failure costs: held back, charged, tried again, the end of the job
commits        image files, rows and ledger entries of what was made
worker         the loop over batches
start          lock, scan, work, and leave the folder compacted
grid           a folder of jobs
reproduction   an image made again, and compared
"""
