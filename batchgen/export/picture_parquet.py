"""`parquet`: rows with their pictures inside, as `datasets` and the viewers of hubs read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.export import handover as sizes
from batchgen.export.handover import Handover
from batchgen.export.samples import Sample
from batchgen.storage.atomic import atomic_file, storage_errors

_IMAGE = pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
_FEATURES = {"info": {"features": {"image": {"_type": "Image"}}}}
"""What tells `datasets` that the struct is a picture; other columns are as their types say."""
_GROUP_ROWS = 100
_GROUP_BYTES = 64 * 2**20


def picture_parquet(handover: Handover) -> None:
    """Write `train-00000-of-00004.parquet` and so on: `image`, then the columns.

    `image` holds the bytes of the image file and its name. Row groups have 100 rows at most, so
    that a viewer reads a few megabytes at a time.
    """
    fields = [field for field in handover.schema if field.name != _IMAGE.name]
    to_schema = pa.schema([_IMAGE, *fields]).with_metadata(
        {b"huggingface": json.dumps(_FEATURES).encode()}
    )
    for number, samples in handover.runs(sizes.FILE_BYTES):
        with (
            atomic_file(_draft(handover.place, number)) as file,
            pq.ParquetWriter(file, to_schema, **_options(to_schema)) as writer,
        ):
            for rows in _groups(handover, samples):
                writer.write_table(pa.Table.from_pylist(rows, to_schema))
    _name(handover.place, handover.n_files)


def _groups(
    handover: Handover, samples: Iterator[tuple[int, Sample]]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a row group at a time."""
    rows: list[dict[str, Any]] = []
    n_bytes = 0
    for number, sample in samples:
        image = {"bytes": sample.content, "path": f"{number:09d}{sample.entry.suffix}"}
        rows.append({**handover.row(sample.entry), "image": image})
        n_bytes += len(sample.content)
        if len(rows) == _GROUP_ROWS or n_bytes >= _GROUP_BYTES:
            yield rows
            rows, n_bytes = [], 0
    if rows:
        yield rows


def _options(schema: pa.Schema) -> dict[str, Any]:
    """Return how columns are stored: pictures are compressed already, and have no order."""
    names = [field.name for field in schema if field.name != _IMAGE.name]
    return {
        "compression": {"image.bytes": "none", **dict.fromkeys(names, "zstd")},
        "use_dictionary": names,
        "write_statistics": names,
    }


def _draft(place: Path, number: int) -> Path:
    return place / f"{number:05d}.parquet"


def _name(place: Path, n_files: int) -> None:
    """Give the files their names, which say how many there are."""
    for number in range(n_files):
        path = place / f"train-{number:05d}-of-{n_files:05d}.parquet"
        with storage_errors(path):
            if not path.exists():  # else a start that was killed has named it
                _draft(place, number).rename(path)
