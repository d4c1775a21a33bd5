"""The settings of a job: their types, ranges and defaults, and how a config is made of names.

schedulers    the schedulers on offer, under every name they are known by
lora          the text that names adapters and their weights
validation    ranges
structure     configs from nested plain values, by the types of their fields
groups        the names of groups, which are files of conf/
revisions     numbers that are raised when pictures can differ
setting_row   what there is to say of a setting
settings      the one table of the settings of an image
seeds         the seeds of a job, as a list or a range
sampling      the settings that shape every image of a job
models        the models and adapters a job may name
device        where a model runs, and the switches of that device
job           `JobConfig`, the whole of it
names         a `JobConfig` from names and plain values, and back
job_identity  what of a config tells one job from another
"""
