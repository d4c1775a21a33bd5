"""The command line.

arguments  the commands and their arguments
sweeps     the values of a grid's keys
overrides  what stands on the command line, argument by argument
job_files  the files behind `jobs=NAME`, and what is wrong with one
compose    from overrides to `JobConfig`s; with sweeps and overrides the only user of hydra
messages   how commands report errors
points     the points of a grid
run        make the images of a table, or go on making them
plan       check everything and count, without making anything
tune       the best batch size, found by trying
status     how jobs are doing
verify     read every byte of a job and say what is wrong
merge      make one job of its shards
report     contact sheets
export     finished images in the layouts of other tools
repro      make an image again and compare
doctor     what is wrong with this machine, or with a log
download   fetch the files of a job's model and adapters
main       a command line in, an exit code out
"""
