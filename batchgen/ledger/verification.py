"""`batchgen verify`: whether a job's folder is intact."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.ledger.contents import Contents, consistently, numbered, read_contents, refuse_no_job
from batchgen.ledger.events import UnknownEvent
from batchgen.ledger.findings import Findings
from batchgen.ledger.journal import damaged_lines
from batchgen.ledger.notes import UNREADABLE, MetadataNotes, PartNotes
from batchgen.ledger.reader import keys_of, live_tables
from batchgen.ledger.records import Key, Record, key_of
from batchgen.ledger.seals import is_as_sealed
from batchgen.plan.fingerprint import Hashes, text_hashes
from batchgen.storage.atomic import reading_errors
from batchgen.storage.folder import JobFolder
from batchgen.storage.hashes import sha256
from batchgen.storage.lock import FolderLock

_COLUMNS = ["row_key", "image_index", "file_name", "file_sha256"]


def verify(folder: JobFolder) -> Findings:
    """Read every byte of a job's folder and say what is wrong; changes nothing.

    Raises `JobInUse` while a start holds the folder, `FolderError` for what is not a job.
    """
    refuse_no_job(folder)
    if folder.lock.exists():
        FolderLock(folder.lock).probe()
    return findings_in(folder)


def findings_in(folder: JobFolder) -> Findings:
    """Return what is wrong with a folder that no start works in; the ledger first, then images."""
    with reading_errors(folder.root):
        findings = Findings(broken=list(_broken(folder)))
        if not findings.broken:
            _check(folder, findings)
    return findings


def _check(folder: JobFolder, findings: Findings) -> None:
    """Check the ledger's journals, its rows and the images of a folder whose files all open."""
    for _, path in sorted(numbered(folder.journals, ".jsonl")):
        findings.damaged += [f"{path}, line {number}" for number in damaged_lines(path)]
    contents = consistently(folder, lambda: read_contents(folder))
    names = _check_rows(folder, contents, findings)
    findings.orphans = list(_orphans(folder, names))
    _trust(folder, findings)


def _broken(folder: JobFolder) -> Iterator[Path]:
    sealed = [folder.metadata] if os.path.lexists(folder.metadata) else []
    sealed += sorted(folder.parts.glob("[!.]*.parquet"))
    yield from (path for path in sealed if not _opens(folder, path))
    journals = (path for _, path in sorted(numbered(folder.journals, ".jsonl")))
    yield from (path for path in journals if not path.is_file())


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


def _check_rows(folder: JobFolder, contents: Contents, findings: Findings) -> Hashes:
    """Check the image of every row, and return the hashes of all their names, sorted."""
    doubled = _doubled(contents)
    hashes: dict[Key, str] = {}
    names = [np.zeros(0, dtype=np.uint64)]
    repeated: Counter[Path] = Counter()
    twice: dict[Path, list[Key]] = {}
    wanted: dict[str, str] = {}
    for source, table in live_tables(contents, _COLUMNS):
        is_double = np.isin(keys_of(table), doubled)
        for row, may_repeat in zip(table.to_pylist(), is_double, strict=True):
            key = key_of(row)
            if may_repeat and key in hashes:
                repeated[source.path] += hashes[key] == row["file_sha256"]
                twice.setdefault(source.path, []).append(key)
                continue
            if may_repeat:
                hashes[key] = row["file_sha256"]
            findings.n_images += 1
            _check_image(folder, row, findings, wanted)
        names.append(text_hashes(table["file_name"]))
    n_rows = {source.path: source.n_rows for source in contents.sources}
    findings.copies = [path for path, n in repeated.items() if n == n_rows[path]]
    findings.twice = [key for path in twice if path not in findings.copies for key in twice[path]]
    known = np.unique(np.concatenate(names))
    findings.elsewhere = dict(_elsewhere(folder, known, wanted))
    return known


def _doubled(contents: Contents) -> Hashes:
    """Return the keys that more than one row has."""
    tables = live_tables(contents, ["row_key", "image_index"])
    parts = [np.zeros(0, dtype=np.uint64), *(keys_of(table) for _, table in tables)]
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
