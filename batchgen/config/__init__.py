"""The settings of a job: their types, ranges and defaults, and how names become a config.

counts        how many of something, in words
decimals      numbers as people wrote them
nearest       the known name that a misspelt one is nearest to
shell         settings and commands as a message suggests them
paths         paths as people write them
schedulers    the supported schedulers and all their names
lora          the text that names adapters and their weights
validation    ranges
structure     configs from nested plain values, by the types of their fields
groups        the names of config groups, which are files of conf/
revisions     numbers that are raised when pictures can differ
setting_choices  the words of settings that have few
setting_row   what the table records of one setting
settings      the one table of the settings of an image
seeds         the seeds of a job, as a list or a range
identity_marks  which fields are in a job's identity
sampling      the settings that shape every image of a job
models        the models and adapters a job may name
device        where a model runs, and the switches of that device
workers       where batches are made
shard         every n-th batch of a job
reading       how the table is read
job           `JobConfig`, the whole of it
keys          the keys of a job's settings, and what each of them holds
names         a `JobConfig` from names and plain values, and back
job_identity  the part of a config that distinguishes one job from another
run_command   the command line that a config comes from
"""
