"""Rows of a table that have one key between them: a key names a row, so that is refused."""

from __future__ import annotations

import numpy as np

from batchgen.errors import TableError
from batchgen.plan.fingerprint import Hashes, text_hashes
from batchgen.table import Table


def refuse_twins(table: Table, hashes: Hashes) -> None:
    """Raise `TableError` if two rows share a key; `hashes`, of all keys, is sorted in place."""
    hashes.sort()
    suspects = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(suspects):
        return
    seen: dict[str, int] = {}
    column = table.columns_used["row_key"]
    for rows in table.chunks():
        keys = rows.settings["row_key"]
        for position in np.flatnonzero(np.isin(text_hashes(keys), suspects)):
            key, row = keys[int(position)].as_py(), rows.first_index + int(position)
            if key in seen:
                first = table.place(seen[key]).removeprefix(f"{table.path}, ")
                raise TableError(
                    f"{table.place(row)}: column {column!r} has {key!r}, as {first} has. Ids name "
                    "rows, so each may stand once only."
                )
            seen[key] = row
    raise TableError(f"{table.path}: two ids share a 64-bit hash: {sorted(seen)}. Rename one.")
