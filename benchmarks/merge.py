"""The shards of a large job, merged: seconds and peak resident memory.

    python benchmarks/merge.py [--images 100000] [--shards 16]

Makes shards with empty image files in a temporary folder, as clean stops would have left them, and
times `batchgen merge` on them.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchgen.config.shard import Shard
from batchgen.ledger.notes import NOTES, MetadataNotes
from batchgen.ledger.schema import METADATA, schema
from batchgen.ledger.seals import atomic_parquet
from batchgen.ledger.state import LedgerState
from batchgen.runner.merging import merge
from batchgen.storage.folder import JobFolder

_EMPTY = hashlib.sha256(b"").hexdigest()


def write_shard(folder: JobFolder, rows: range) -> None:
    """Write a finished shard of these rows."""
    folder.create()
    content = {"identity": {}, "config": {}, "table": {"n_images": len(rows)}}
    folder.write_json(folder.job_json, content)
    known: dict[str, Any] = {
        "file_name": [folder.image_name(i, 0, "png") for i in rows],
        "row_key": [f"row-{i}" for i in rows],
        "row_index": list(rows),
        "image_index": [0] * len(rows),
        "fingerprint": [f"{i:016x}" for i in rows],
        "pixel_sha256": [_EMPTY] * len(rows),
        "file_sha256": [_EMPTY] * len(rows),
    }
    to_schema = schema(METADATA)
    arrays = [
        pa.array(known[x.name], x.type) if x.name in known else pa.nulls(len(rows), x.type)
        for x in to_schema
    ]
    notes = {NOTES: MetadataNotes.encode(1, LedgerState())}
    with atomic_parquet(folder.metadata, to_schema, notes, sealed_in=folder) as file:
        file.write_table(pa.Table.from_arrays(arrays, schema=to_schema))
    for name in known["file_name"]:
        path = folder.root / name
        path.parent.mkdir(exist_ok=True)
        path.touch()


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        whole = JobFolder(Path(place) / "job")
        for index in range(options.shards):
            name = Shard(index, options.shards).folder_name
            write_shard(JobFolder(whole.root / name), range(index, options.images, options.shards))
        started = time.perf_counter()
        merged = merge(whole)
        seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    what = f"{merged.n_images:,} images of {options.shards} shards"
    print(f"{what}: {seconds:.1f} s, {memory:.0f} MiB")


if __name__ == "__main__":
    main()
