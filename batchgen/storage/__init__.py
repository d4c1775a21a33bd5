"""A job's folder and the files in it: whole or not at all, one process at a time.

processes   whether a process of this host runs, and since when
atomic      files that appear complete or not at all
hashes      SHA-256 of large files, computed once
folder      every path of a job
job_search  the jobs in a folder
kinds       whether what lies in the folder is of the right kind
lock        one process at a time in a job's folder
"""
