"""`imagefolder`: a copy that stands alone, as `datasets.load_dataset("imagefolder")` reads it."""

from __future__ import annotations

import pyarrow as pa

from batchgen.export.handover import Handover
from batchgen.ledger.seals import atomic_parquet

_FOLDER_IMAGES = 10_000
_GROUP_ROWS = 10_000


def image_copy(handover: Handover) -> None:
    """Lay out images as images/00000/000000000.png, and metadata.parquet with their paths."""
    for number, sample in handover.samples():
        handover.put(_name(number, sample.entry.suffix), sample)
    to_schema = pa.schema([pa.field("file_name", pa.string()), *handover.schema])
    with atomic_parquet(handover.place / "metadata.parquet", to_schema, {}) as writer:
        rows = []
        for number, entry in enumerate(handover.entries()):
            rows.append({"file_name": _name(number, entry.suffix), **handover.row(entry)})
            if len(rows) == _GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(rows, to_schema))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, to_schema))


def _name(number: int, suffix: str) -> str:
    """Return an image's path; digits only, since words would make the reader guess at splits."""
    return f"images/{number // _FOLDER_IMAGES:05d}/{number:09d}{suffix}"
