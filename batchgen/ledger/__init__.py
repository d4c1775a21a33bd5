"""What is committed in a job's folder: images, failures and what else the ledger records.

schema        the columns of metadata.parquet and failures.parquet
records       a row as JSON and back, the table's own columns included; the key of an image
events        what the ledger records, one event at a time, and its form on disk
state         failures, suspects, rungs that worked: the state that events lead to
journal       one checksummed line per event
notes         what a sealed file records about itself
sources       a journal that was read, a part or metadata.parquet
contents      journals, parts and metadata.parquet, as they are at one moment
withdrawals   what files withdraw from those before them
reader        what is committed, file by file, as one table, or in order in bounded memory
row_spool     what is committed, put aside in a file
image_names   the files in images/, compared with what is committed
finished      the set of what is done, as arrays
seals         SHA-256 of sealed files, and writing them
carried       the table's own columns, given to rows that were committed before
writer        the one writer of journals and parts
adoption      rows and image files of another folder, made part of a job
compaction    parts merged into metadata.parquet, failures into failures.parquet
findings      what is wrong with a folder, in words
verification  whether a folder is intact
repair        a folder whose files and rows agree again
"""
