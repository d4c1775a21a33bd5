"""A prompt table as a stream of typed rows; knows nothing of models, jobs or how seeds are made.

`open_table` reads the header alone. `Table.chunks` then streams the rows in columns, as often as
it is asked to. Nothing is inferred: text is read as text, and only the columns of `SETTINGS` are
cast, each cell checked. A table may be several files.

raw           what every format yields, and how a bad value is shown
files         which files a table is, and what tells them from others
columns       which column means which setting, and which are carried
lookalikes    carried columns whose names look like settings
sniffing      what a file really is, by its first bytes
text          decoding, and text files cut into chunks
delimited     .csv, .tsv
text_file     .txt
json_files    .jsonl, .ndjson, .json
parquet       .parquet, .pq
shards        several files as one
frames        tables in memory
values        cells to typed settings
prompt_table  the table itself
"""

from batchgen.table.columns import LATER, SETTINGS
from batchgen.table.files import Stamp, files_of, stamp_of
from batchgen.table.frames import arrow_table, write_table
from batchgen.table.prompt_table import Rows, Table, open_table

__all__ = [
    "LATER",
    "SETTINGS",
    "Rows",
    "Stamp",
    "Table",
    "arrow_table",
    "files_of",
    "open_table",
    "stamp_of",
    "write_table",
]
