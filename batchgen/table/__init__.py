"""A prompt table as a stream of typed rows; knows nothing of models, jobs or how seeds are made.

`open_table` reads the header alone. `Table.chunks` then streams the rows in columns, as often as
it is asked to. Nothing is inferred: text is read as text, and only the columns of `SETTINGS` are
cast, each cell checked.

raw           what every format yields, and how a bad value is shown
sniffing      what a file really is, by its first bytes
text          decoding, and text files cut into chunks
delimited     .csv, .tsv
lines         .jsonl, .ndjson, .txt
parquet       .parquet, .pq
columns       which column means which setting
values        cells to typed settings
prompt_table  the table itself
"""

from batchgen.table.columns import SETTINGS
from batchgen.table.prompt_table import Rows, Stamp, Table, open_table

__all__ = ["SETTINGS", "Rows", "Stamp", "Table", "open_table"]
