"""What is committed in a job's folder, and all that is remembered of it.

schema        the columns of metadata.parquet and failures.parquet
state         failures, suspects, rungs that worked
journal       one checksummed line per event
records       the table's own columns, as JSON and back
contents      journals, parts and metadata.parquet, as they are at one moment
writer        the one writer of journals and parts
compaction    all of it as one: metadata.parquet, a table, the set of what is done
verification  whether a folder is whole, and how to make it whole again
"""
