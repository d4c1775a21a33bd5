"""One job of its shards: their image files and rows become its own.

When its last row is in, a shard goes. A merge that was killed goes on with the same command.
"""

from __future__ import annotations

import itertools
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from batchgen.config.counts import counted
from batchgen.config.shard import Shard, of_folder
from batchgen.errors import FolderError, JobChanged
from batchgen.ledger.adoption import Adoption
from batchgen.ledger.compaction import compact
from batchgen.ledger.contents import read_contents
from batchgen.ledger.reader import keys_of, live_tables, merged_schema, n_committed
from batchgen.ledger.repair import move
from batchgen.ledger.writer import Ledger
from batchgen.plan.fingerprint import text_hashes
from batchgen.runner.identity import comparable
from batchgen.runner.progress import Progress
from batchgen.storage.atomic import copy_atomically, storage_errors
from batchgen.storage.folder import JobFolder
from batchgen.storage.hashes import sha256
from batchgen.storage.kinds import refuse_other_files, refuse_other_folders
from batchgen.storage.lock import FolderLock

_MADE = ["row_key", "image_index", "fingerprint", "pixel_sha256"]
_OURS = (".batchgen", "images", "report", "job.json", "metadata.parquet", "failures.parquet",
         "README.md", "status.json")  # fmt: skip


@dataclass(slots=True)
class Merged:
    """What a merge came to."""

    folder: JobFolder
    shards: list[Shard] = field(default_factory=list)
    """Those that were merged now."""
    n_images: int = 0
    """Images that the job has now, of `n_wanted`."""
    n_wanted: int = 0
    n_lost: int = 0
    """Rows whose image file is gone; they are made again."""
    missing: list[Shard] = field(default_factory=list)
    """Shards of the same count that were never merged."""

    def lines(self) -> Iterator[str]:
        """Yield it in words."""
        n_shards, n_wanted = counted(len(self.shards), "shard"), counted(self.n_wanted, "image")
        yield f"{self.folder.root}: {n_shards} merged, {self.n_images:,} of {n_wanted}"
        if self.n_lost:
            yield f"no file for {counted(self.n_lost, 'image')}: the next start makes them again"
        if self.missing:
            named = ", ".join(map(str, self.missing))
            yield f"never merged: {named}; a start without shard makes what is left"


def merge(folder: JobFolder) -> Merged:
    """Make a folder the job of the shards in it, finished or not; more may be merged later.

    A merge that was killed goes on, if only to merge the parts of shards that are in.

    Raises:
        FolderError: There is no shard, or one of another job's.
        JobChanged: Two of them have other settings, another table, or other bytes.
        JobInUse: A start works in one of them.
        StorageError: A file cannot be moved.
    """
    shards = folder.shards()
    if not shards and "shards" not in (folder.identity() or {}):
        raise FolderError(f"{folder.root} has no shard in it: nothing is to be merged.")
    for place in (folder, *shards):
        refuse_other_folders(place)
        refuse_other_files(place)
    _refuse_others(shards)
    if folder.identity() is not None:  # else a merge may have been killed before it was written
        _refuse_others([folder, *shards[:1]])
    with ExitStack() as stack:
        folder.create()
        for place in (folder, *shards):
            stack.enter_context(FolderLock(place.lock))
        _clear_merged(folder)
        run_id = f"merge-{secrets.token_hex(3)}"
        for shard in shards:  # journals of starts that died become parts
            Ledger(shard, run_id, merged_schema(read_contents(shard))).close()
        _refuse_other_bytes([folder, *shards])
        return _Merge(folder, run_id).of(shards)


class _Merge:
    """A merge whose shards are locked and fit each other."""

    def __init__(self, folder: JobFolder, run_id: str) -> None:
        self._folder = folder
        self._ledger = Ledger(folder, run_id, merged_schema(read_contents(folder)))
        self._adoption = Adoption(folder, self._ledger)
        self._merged = Merged(folder)

    def of(self, shards: list[JobFolder]) -> Merged:
        """Take in the shards one after another, and merge the parts."""
        merged, folder = self._merged, self._folder
        for shard in shards:
            merged.n_lost += self._adoption.take(shard)
            self._write_identity(_shard_of(shard), _with_kept_table(shard, folder))
            _retire(shard, folder)
            merged.shards.append(_shard_of(shard))
        self._ledger.close()
        content = folder.identity() or {}
        environments = content.get("environments", {})
        compact(folder, {name: one.get("versions", {}) for name, one in environments.items()})
        folder.write_card()
        merged.n_images = n_committed(read_contents(folder))
        merged.n_wanted = content.get("table", {}).get("n_images", 0)
        count, known = list(content["shards"].items())[-1]
        merged.missing = [
            Shard(index, int(count)) for index in range(int(count)) if str(index) not in known
        ]
        self._write_status()
        return merged

    def _write_identity(self, shard: Shard, content: dict[str, Any]) -> None:
        before = self._folder.identity() or {}
        n_images = {**before.get("shards", {}).get(str(shard.count), {})}
        n_images[str(shard.index)] = content.get("table", {}).get("n_images", 0)
        environments = {**before.get("environments", {}), **content.get("environments", {})}
        merged = {name: value for name, value in content.items() if name != "finished"}
        merged["environments"] = environments
        others = {k: v for k, v in before.get("shards", {}).items() if k != str(shard.count)}
        merged["shards"] = {**others, str(shard.count): n_images}
        merged["config"] = {**content.get("config", {}), "shard": None}
        merged["table"] = {**content.get("table", {}), "n_images": sum(n_images.values())}
        self._folder.write_json(self._folder.job_json, merged)

    def _write_status(self) -> None:
        merged, failures = self._merged, self._ledger.state.failures.values()
        progress = Progress(
            self._folder,
            self._ledger.run_id,
            n_images=max(merged.n_wanted, merged.n_images),
            n_done=merged.n_images,
            failed_before=Counter(str(failure["error_type"]) for failure in failures),
        )
        progress.enter("merged")


def _with_kept_table(shard: JobFolder, folder: JobFolder) -> dict[str, Any]:
    """Return a shard's job.json; a table that was given in memory is kept by the whole job now."""
    content, kept = shard.identity() or {}, folder.kept_table
    table = content.get("table", {})
    with storage_errors(shard.kept_table):
        if not _is_table(shard.kept_table, table):
            return content
        if not _is_table(kept, table):
            copy_atomically(shard.kept_table, kept)
    where = {"path": str(kept), "resolved": str(kept.resolve())}
    config = {**content.get("config", {}), "table": str(kept)}
    return {**content, "config": config, "table": {**table, **where}}


def _is_table(path: Path, table: dict[str, Any]) -> bool:
    return path.is_file() and sha256(path) == table.get("sha256")


def _shard_of(folder: JobFolder) -> Shard:
    shard = of_folder(folder.root.name)
    if shard is None:
        raise FolderError(f"{folder.root} is named as no shard is. Rename it, or move it away.")
    return shard


def _refuse_others(folders: list[JobFolder]) -> None:
    """Raise `JobChanged` for two jobs of other settings, or of another table."""
    for first, folder in itertools.pairwise(folders):
        known = first.identity() or {}
        content = folder.identity() or {}
        both = (comparable(known.get("identity", {})), comparable(content.get("identity", {})))
        keys = [k for k in {*both[0], *both[1]} if both[0].get(k) != both[1].get(k)]
        if keys:
            raise JobChanged(
                f"{first.root} and {folder.root} were made with other settings: "
                f"{', '.join(sorted(keys))}. They are not of one job: move one of them away."
            )
        tables = [one.get("table", {}).get("sha256") for one in (known, content)]
        if first.root.parent == folder.root.parent and tables[0] != tables[1]:
            raise JobChanged(
                f"{first.root} and {folder.root} were made of tables with other content. Start the "
                "shards again with the present table, or move one of them away."
            )


def _refuse_other_bytes(folders: list[JobFolder]) -> None:
    """Raise `JobChanged` for an image that two folders have with other settings or other pixels."""
    known, marks = (np.zeros(0, dtype=np.uint64) for _ in range(2))
    for folder in folders:
        keys, made = [known], [marks]
        for _, table in live_tables(read_contents(folder), _MADE):
            key, mark = keys_of(table), text_hashes(table["fingerprint"])
            mark ^= text_hashes(table["pixel_sha256"])
            at = np.searchsorted(known, key)
            at[at == len(known)] = 0
            is_other = (known[at] == key) & (marks[at] != mark) if len(known) else None
            if is_other is not None and is_other.any():
                row_key = table["row_key"][int(np.argmax(is_other))].as_py()
                raise JobChanged(
                    f"{folder.root} has an image of row {row_key!r} with other settings or other "
                    f"pixels than {folders[0].root} or another shard. Move one of them away."
                )
            keys.append(key)
            made.append(mark)
        order = np.argsort(np.concatenate(keys))
        known, marks = np.concatenate(keys)[order], np.concatenate(made)[order]


def _retire(shard: JobFolder, folder: JobFolder) -> None:
    """Delete a shard all of whose rows are in; what is not of a job is kept."""
    aside = folder.removed / f"{shard.root.name}-{secrets.token_hex(3)}"
    with storage_errors(shard.root):
        strange = [path for path in shard.root.iterdir() if path.name not in _OURS]
        for path in [*strange, *([shard.removed] if shard.removed.exists() else [])]:
            move(path, aside / path.name)
        if shard.log.exists():
            with folder.log.open("ab") as log:
                log.write(shard.log.read_bytes())
        folder.merged_shards.mkdir(exist_ok=True)
        shard.root.replace(folder.merged_shards / f"{shard.root.name}-{secrets.token_hex(3)}")
    _clear_merged(folder)


def _clear_merged(folder: JobFolder) -> None:
    with storage_errors(folder.merged_shards):
        if folder.merged_shards.is_dir() and not folder.merged_shards.is_symlink():
            shutil.rmtree(folder.merged_shards)
