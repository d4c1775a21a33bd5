"""`batchgen verify`: whether a job's folder is intact."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.errors import JobInUse
from batchgen.ledger.contents import Contents, consistently, numbered, read_contents, refuse_no_job
from batchgen.ledger.events import UnknownEvent
from batchgen.ledger.findings import Findings
from batchgen.ledger.journal import damaged_lines
from batchgen.ledger.notes import UNREADABLE, MetadataNotes, PartNotes
from batchgen.ledger.reader import keys_of
from batchgen.ledger.records import Key, Record, key_of
from batchgen.ledger.row_spool import RowSpool
from batchgen.ledger.seals import is_as_sealed
from batchgen.ledger.sources import Source
from batchgen.plan.fingerprint import Hashes, text_hashes
from batchgen.storage.atomic import reading_errors
from batchgen.storage.folder import JobFolder
from batchgen.storage.hashes import sha256
from batchgen.storage.lock import FolderLock

_COLUMNS: dict[str, pa.DataType] = {
    "row_key": pa.string(),
    "image_index": pa.int32(),
    "file_name": pa.string(),
    "file_sha256": pa.string(),
}

_MOST_LOOKS = 4
_PAUSE_S = 1.0
"""How often, and how long apart, what looks wrong beside a start at work is looked at again."""


def verify(folder: JobFolder) -> Findings:
    """Read every byte of a job's folder and say what is wrong; changes nothing.

    Fit for a job that is running: what looks wrong then is looked at again, as an image may be
    between its file and its row, and what the start may be about to commit is not judged.

    Raises `FolderError` for what is not a job.
    """
    refuse_no_job(folder)
    is_at_work = _is_at_work(folder)
    findings = findings_in(folder)
    if not (is_at_work or _is_at_work(folder)):
        return findings
    findings.orphans = [path for path in findings.orphans if not _may_be_in_flight(folder, path)]
    for _ in range(_MOST_LOOKS):
        if findings.is_clean:
            break
        time.sleep(_PAUSE_S)
        findings = findings_in(folder, None if findings.broken else findings)
    findings.is_at_work = True
    return findings


def _is_at_work(folder: JobFolder) -> bool:
    try:
        if folder.lock.exists():
            FolderLock(folder.lock).probe()
    except JobInUse:
        return True
    return False


def _may_be_in_flight(folder: JobFolder, path: Path) -> bool:
    name = path.relative_to(folder.root).as_posix()
    return path.name.startswith(".") or folder.image_number(name) is not None


def findings_in(folder: JobFolder, earlier: Findings | None = None) -> Findings:
    """Return what is wrong with a folder: files that do not open, or else all else.

    Images are looked at without a lock and one at a time, in memory that holds a few bytes of each.

    Args:
        folder: A job's.
        earlier: The findings to look at again, where all other images are known to be well.
    """
    with reading_errors(folder.root), RowSpool(_COLUMNS) as spool:
        findings = Findings(broken=list(_broken(folder)))
        if findings.broken:
            return findings

        def read() -> Contents:
            contents = read_contents(folder)
            spool.fill(contents)
            findings.damaged = list(_damaged(folder))
            return contents

        sources = consistently(folder, read).sources
        names = _check_rows(folder, spool, sources, findings, earlier)
        orphans = _orphans(folder, names)
        findings.orphans = [p for p in orphans if earlier is None or p in earlier.orphans]
        _trust(folder, findings)
        return findings


def _damaged(folder: JobFolder) -> Iterator[str]:
    for _, path in sorted(numbered(folder.journals, ".jsonl")):
        yield from (f"{path}, line {number}" for number in damaged_lines(path))


def _broken(folder: JobFolder) -> Iterator[Path]:
    """Yield sealed files that do not open, and journals that are not files; none that is gone."""
    sealed = [folder.metadata, *sorted(folder.parts.glob("[!.]*.parquet"))]
    journals = (path for _, path in sorted(numbered(folder.journals, ".jsonl")))
    broken = [path for path in sealed if not _opens(folder, path)]
    broken += [path for path in journals if not path.is_file()]
    yield from filter(os.path.lexists, broken)


def _opens(folder: JobFolder, path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        MetadataNotes.read(path) if path == folder.metadata else PartNotes.read(path)
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches():
                pass
    except UnknownEvent:
        # No damage: `read_contents` refuses it, and says that a newer version wrote it.
        return True
    except PermissionError as error:  # no damage either, and nothing to repair
        raise PermissionError(error.errno, "Permission denied", str(path)) from error
    except UNREADABLE:
        return False
    return is_as_sealed(folder, path)


def _check_rows(
    folder: JobFolder,
    spool: RowSpool,
    sources: list[Source],
    findings: Findings,
    earlier: Findings | None,
) -> Hashes:
    """Check the image of every row, and return the hashes of all their names, sorted."""
    doubled = _doubled(spool)
    suspects = None if earlier is None else {*earlier.missing, *earlier.altered}
    hashes: dict[Key, str] = {}
    names = [np.zeros(0, dtype=np.uint64)]
    repeated: Counter[int] = Counter()
    twice: dict[int, list[Key]] = {}
    wanted: dict[str, str] = {}
    for table in spool.tables():
        is_double = np.isin(keys_of(table), doubled)
        for row, may_repeat in zip(table.to_pylist(), is_double, strict=True):
            key = key_of(row)
            if may_repeat and key in hashes:
                repeated[row["source"]] += hashes[key] == row["file_sha256"]
                twice.setdefault(row["source"], []).append(key)
                continue
            if may_repeat:
                hashes[key] = row["file_sha256"]
            findings.n_images += 1
            if suspects is None or (key, row["file_name"]) in suspects:
                _check_image(folder, row, findings, wanted)
        names.append(text_hashes(table["file_name"]))
    copies = [at for at, n in repeated.items() if n == sources[at].n_rows]
    findings.copies = [sources[at].path for at in copies]
    findings.twice = [key for at in twice if at not in copies for key in twice[at]]
    known = np.unique(np.concatenate(names))
    findings.elsewhere = dict(_elsewhere(folder, known, wanted))
    return known


def _doubled(spool: RowSpool) -> Hashes:
    """Return the keys that more than one row has."""
    parts = [np.zeros(0, dtype=np.uint64), *map(keys_of, spool.tables())]
    keys, counts = np.unique(np.concatenate(parts), return_counts=True)
    doubled: Hashes = keys[counts > 1]
    return doubled


def _orphans(folder: JobFolder, names: Hashes) -> Iterator[Path]:
    """Yield what is under images/ and has no row, a folder at a time."""
    for place in (folder.images, *sorted(folder.images.glob("**/*/"))):
        if place.is_symlink() and place != folder.images:
            continue  # what lies behind it is not the job's
        paths = sorted(path for path in place.glob("*") if not path.is_dir())
        is_known = _are_known([str(path.relative_to(folder.root)) for path in paths], names)
        yield from (path for path, known in zip(paths, is_known, strict=True) if not known)


def _are_known(paths: list[str], names: Hashes) -> list[bool]:
    texts = [path.encode("utf-8", "backslashreplace").decode() for path in paths]
    known: list[bool] = np.isin(text_hashes(pa.array(texts, pa.string())), names).tolist()
    return known


def _check_image(
    folder: JobFolder, row: Record, findings: Findings, wanted: dict[str, str]
) -> None:
    name, entry = row["file_name"], (key_of(row), row["file_name"])
    path = folder.root / name
    if folder.image_number(name) is None or not (path.is_file() or path.is_symlink()):
        is_other = folder.image_number(name) is not None and path.exists()
        (findings.altered if is_other else findings.missing).append(entry)
        wanted[name] = row["file_sha256"]
        return
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except PermissionError:  # who may not read it cannot say that it is damaged
        raise
    except OSError:
        digest = ""
    if digest != row["file_sha256"]:
        findings.altered.append(entry)


def _elsewhere(
    folder: JobFolder, names: Hashes, wanted: dict[str, str]
) -> Iterator[tuple[str, Path]]:
    """Yield missing images whose bytes are in a file that has no row."""
    by_hash = {digest: name for name, digest in wanted.items()}
    for path in sorted(folder.root.glob("**/*")) if by_hash else ():
        is_ours = folder.hidden in path.parents or folder.report in path.parents
        if is_ours or not path.is_file():
            continue
        if _are_known([str(path.relative_to(folder.root))], names)[0]:
            continue
        name = by_hash.pop(sha256(path), None)
        if name is not None:
            yield name, path


def _trust(folder: JobFolder, findings: Findings) -> None:
    """Count missing images as unseen, where the job's last start was told not to look."""
    config = (folder.identity() or {}).get("config", {}) if folder.job_json.exists() else {}
    if config.get("on_missing") == "trust":
        findings.n_unseen = len(findings.missing)
        findings.missing = []
