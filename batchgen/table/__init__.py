"""A prompt table as a stream of typed rows; knows nothing of models, jobs or how seeds are made.

`open_table` reads the header alone. `Table.chunks` then streams the rows in columns, as often as
it is asked to. Nothing is inferred: text is read as text, and only the columns of `SETTINGS` are
cast, each cell checked.

    raw.py         what every format gives, and how a culprit is shown
    text.py        decoding, and text files cut into chunks
    delimited.py   .csv, .tsv
    lines.py       .jsonl, .ndjson, .txt
    parquet.py     .parquet, .pq
    columns.py     which column means which setting
    values.py      cells to typed settings
    prompt_table.py  the table itself
"""

from batchgen.table.columns import SETTINGS
from batchgen.table.prompt_table import Rows, Stamp, Table, open_table

__all__ = ["SETTINGS", "Rows", "Stamp", "Table", "open_table"]
