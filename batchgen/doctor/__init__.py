"""What is wrong with a machine, its software, or a log, each fault with its cure.

bounded       commands that may hang
check         what a check says
cann          the versions of CANN and driver, and whether set_env.sh was sourced
npu_smi       the table that `npu-smi info` prints
probe         what may crash, in a process of its own
software      Python, platform, versions, locale, Ray, Slurm
device_check  NPUs, the processes that use them, and whether they compute
model_check   the files of the model and the types it computes in
output_check  the folder where images go
examination   all checks of a job's config
crash_log     the known faults a log shows
"""
