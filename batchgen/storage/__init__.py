"""A job's folder and the files in it: whole or not at all, one process at a time.

processes  whether a process of this host is there
atomic  files that appear complete or not at all
hashes  SHA-256 of large files, computed once
folder  every path of a job
lock    one process at a time in a job's folder
"""
