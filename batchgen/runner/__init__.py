"""One start of a job.

device_choice  the NPU or the CPU
identity       what identifies a job, whether it is finished
vouching       what a large table need not be validated for again
committed      what is committed of a job, and what is left to make
changes        what is different from what the folder holds, refused or told
result         what a job ends with
streams        standard output and error that never fail
stopping       signals, the clock, a device that hangs
progress       the bar, the line, status.json
disk_space     room on the disk
job_log        the log of a job
opening        what happens before a start writes anything
memory_ladder  what is reduced, in which order, when the device is out of memory
maker          one batch through the pipeline: memory ladder, splitting, blank pictures
rows           the metadata or failure row of an image
saver          encoding, writing and committing in the background
failures       what follows from a failure: held back, charged, retried, or the job stops
commits        image files, rows and events of what was made
worker         the loop over batches
crash_note     what a fatal signal leaves
crew           workers in other processes: leases and reports
leases         which worker makes which batch, and what follows when one dies
leasing        the loop over the batches that a crew makes
executor       what an executor is: where batches are made
given_table    a table from Python, beside its job's folder
start          one start, from the open ledger to the compacted folder
swept          the values of a grid's points
grid           a folder of jobs
grid_metadata  what is committed of all points of a grid, as one table
merging        one job of its shards
reproduction   an image made again, and compared
tuning         the best batch size, found by trying
"""
