"""Rows and image files of another folder, a shard's, made part of a job.

The order makes it safe to kill: the files of some thousand rows are moved, then a part with the
rows is written. A second attempt finds files that were moved and rows that are in, and goes on.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from batchgen.ledger import events
from batchgen.ledger.contents import Contents, read_contents
from batchgen.ledger.events import Event
from batchgen.ledger.image_names import ImageNames
from batchgen.ledger.reader import in_order, keys_of, live_tables, merged_schema
from batchgen.ledger.records import key_of
from batchgen.ledger.seals import refuse_altered
from batchgen.ledger.writer import Ledger
from batchgen.plan.backlog import NUMBER_STRIDE, hashed_keys
from batchgen.plan.fingerprint import Hashes, text_hashes
from batchgen.storage.atomic import atomic_file, storage_errors, sync_folder
from batchgen.storage.folder import JobFolder


class Adoption:
    """Takes shards into a folder whose ledger is open; both are locked by the caller."""

    def __init__(self, folder: JobFolder, ledger: Ledger) -> None:
        self._folder = folder
        self._ledger = ledger
        self._keys, self._names = _hashes(read_contents(folder))
        self._new: list[Hashes] = []
        """Keys of the rows of the shard at hand that are in."""

    def take(self, shard: JobFolder) -> int:
        """Take in all rows of a shard whose files are there; return how many had none."""
        contents = read_contents(shard)
        for source in contents.sources:
            refuse_altered(shard, source.path)
        _, names = _hashes(contents)
        taken = np.concatenate([self._names, names])
        files = ImageNames(shard)
        origins = {source.table for source in contents.sources if source.n_rows}
        origin = origins.pop() if len(origins) == 1 else ""
        n_lost = 0
        for table in in_order(contents, merged_schema(contents)):
            n_lost += self._take_rows(shard, table, files, taken, origin)
        self._keys, self._new = np.concatenate([self._keys, *self._new]), []
        self._names = np.union1d(self._names, names)
        kept = list(self._events_of(contents))
        if kept:
            self._ledger.adopt(merged_schema(contents).empty_table(), kept, (), origin)
        return n_lost

    def _take_rows(
        self, shard: JobFolder, table: pa.Table, files: ImageNames, taken: Hashes, origin: str
    ) -> int:
        """Bring the files of some rows, then commit the rows; return how many have no file."""
        is_in = np.isin(keys_of(table), self._keys)
        has_file = ~np.asarray(files.missing(table["file_name"]))
        before = [str(name) for name in table["file_name"].to_pylist()]
        names = list(before)
        for at in np.flatnonzero(np.isin(text_hashes(table["file_name"]), self._names) & ~is_in):
            names[at] = self._free_name(names[at], taken)
        root = self._folder.root
        for at in np.flatnonzero(is_in & has_file):
            if not (root / names[at]).exists():  # of an image that is in, and has lost its file
                _bring(shard.root / before[at], root / names[at])
        new = np.flatnonzero(~is_in).tolist()
        # A file that is not in the shard may have been moved by a merge that was killed.
        chosen = [at for at in new if has_file[at] or (root / names[at]).is_file()]
        places = {
            _bring(shard.root / before[at], root / names[at]) for at in chosen if has_file[at]
        }
        with storage_errors(self._folder.images):
            for place in places:
                sync_folder(place)
        if chosen:
            rows = table.take(np.array(chosen))
            self._commit(rows, pa.array([names[at] for at in chosen], pa.string()), origin)
        return len(new) - len(chosen)

    def _commit(self, rows: pa.Table, names: Any, origin: str) -> None:
        column = rows.schema.get_field_index("file_name")
        rows = rows.set_column(column, "file_name", names)
        self._new.append(keys_of(rows))
        keys = map(key_of, rows.select(["row_key", "image_index"]).to_pylist())
        known = [key for key in keys if self._ledger.state.knows(key)]
        self._ledger.adopt(rows, [events.Clear(tuple(known))] if known else [], (), origin)

    def _free_name(self, name: str, taken: Hashes) -> str:
        """Return a file name that no other image has: the same with a higher number."""
        while np.isin(text_hashes(pa.array([name])), taken)[0]:
            number, _, rest = Path(name).name.partition("-")
            index, _, suffix = rest.partition(".")
            name = self._folder.image_name(int(number) + NUMBER_STRIDE, int(index), suffix)
        return name

    def _events_of(self, contents: Contents) -> Iterator[Event]:
        """Yield what a shard's ledger holds besides its rows, of images that are not in."""
        state = contents.state
        images = [*state.failures, *state.suspects, *state.dropped]
        is_in = dict(zip(images, np.isin(hashed_keys(images), self._keys).tolist(), strict=True))
        for size, rung in state.rungs.items():
            yield events.Rung(size, rung)
        for key, failure in state.failures.items():
            if not is_in[key]:
                yield events.Fail(failure)
        for key, suspect in state.suspects.items():
            for run in suspect.runs if not is_in[key] else ():
                # Twice the key: it was not made alone then.
                keys = (key,) if run in suspect.alone else (key, key)
                yield events.Suspect(keys, run, suspect.reason)
        dropped = tuple(sorted(key for key in state.dropped if not is_in[key]))
        if dropped:
            yield events.Drop(dropped)


def _hashes(contents: Contents) -> tuple[Hashes, Hashes]:
    """Return the keys and the file names of what is committed, as hashes."""
    keys, names = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.uint64)]
    for _, table in live_tables(contents, ["row_key", "image_index", "file_name"]):
        keys.append(keys_of(table))
        names.append(text_hashes(table["file_name"]))
    return np.concatenate(keys), np.concatenate(names)


def _bring(source: Path, target: Path) -> Path:
    """Move an image file, to another disk as well, and return the folder it is in now."""
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with atomic_file(target) as copy, source.open("rb") as original:
                shutil.copyfileobj(original, copy)
            source.unlink()
    return target.parent
