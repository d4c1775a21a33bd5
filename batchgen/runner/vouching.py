"""What vouches that a large table needs no second validation: a hash of all that it depends on.

The file beside the journals may be lost or damaged at any time; then the table is read again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from dataclasses import asdict
from typing import Any

import numpy as np

from batchgen.config.names import plain
from batchgen.plan.backlog import Backlog
from batchgen.plan.known_table import VALIDATION, KnownTable
from batchgen.runner.identity import INSTANT_ROWS, Job
from batchgen.storage.atomic import reading_errors, write_atomically
from batchgen.table import Table

logger = logging.getLogger(__name__)

_DIGEST_BYTES = hashlib.sha256().digest_size
"""In front of the file stands its SHA-256."""

_ARRAYS = ("of_shards", "images_before", "batches_before", "asked")


def vouched(job: Job, table: Table) -> KnownTable | None:
    """Return what an earlier start learned of the very same table, under the very same settings."""
    path = job.folder.known_table
    try:
        with reading_errors(job.folder.root):
            content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, arrays = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(arrays).digest() != digest:
        logger.warning("%s is damaged, so the whole table is read again", path)
        return None
    with np.load(io.BytesIO(arrays)) as stored:
        text = json.loads(stored["text"].tobytes())
        if text.pop("hash") != _hash(job, table):
            return None
        text["cautions"] = tuple(text["cautions"])
        return KnownTable(**text, **{name: stored[name] for name in _ARRAYS})


def vouch(job: Job, table: Table, backlog: Backlog) -> None:
    """Keep what a pass over a large table taught; the caller holds the lock."""
    known = backlog.known
    if known is None or known.n_rows <= INSTANT_ROWS:
        return
    content = {name: value for name, value in asdict(known).items() if name not in _ARRAYS}
    text = json.dumps({"hash": _hash(job, table), **content}).encode()
    file = io.BytesIO()
    arrays = {name: getattr(known, name) for name in _ARRAYS}
    np.savez(file, text=np.frombuffer(text, dtype=np.uint8), **arrays)
    stored = file.getvalue()
    write_atomically(job.folder.known_table, hashlib.sha256(stored).digest() + stored)


def _hash(job: Job, table: Table) -> str:
    """Return the hash of all that the outcome of a scan depends on, and of more than that.

    Most settings have no say in it, but one that was forgotten here would be a wrong picture.
    The columns are those known now, which for JSON may differ from those after a whole pass.
    """
    depends: list[Any] = [
        VALIDATION,
        job.versions,
        table.origin(),
        table.columns_used,
        str(table.carried),
        plain(job.config),
        repr(job.identity),
        repr(job.demands),
    ]
    text = json.dumps(depends, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
