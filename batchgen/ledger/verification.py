"""`batchgen verify`: whether a job's folder is intact, and its repair."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from batchgen.ledger.compaction import compact
from batchgen.ledger.contents import consistently, read_contents, refuse_no_job
from batchgen.ledger.events import UnknownEvent
from batchgen.ledger.notes import UNREADABLE, MetadataNotes, PartNotes
from batchgen.ledger.reader import live_tables, merged_schema
from batchgen.ledger.records import Key, Record, key_of
from batchgen.ledger.writer import Ledger
from batchgen.storage.atomic import storage_errors
from batchgen.storage.folder import JobFolder
from batchgen.storage.lock import FolderLock

_COLUMNS = ["row_key", "image_index", "file_name", "file_sha256"]


@dataclass(slots=True)
class Findings:
    """What is wrong with a folder; all empty where nothing is."""

    n_images: int = 0
    broken: list[Path] = field(default_factory=list)
    """Sealed files that do not open."""
    missing: list[tuple[Key, str]] = field(default_factory=list)
    """Rows whose image is not there."""
    altered: list[tuple[Key, str]] = field(default_factory=list)
    """Rows whose image has other bytes than it was written with."""
    twice: list[Key] = field(default_factory=list)
    """Images that have two rows."""
    orphans: list[Path] = field(default_factory=list)
    """Files under images/ that have no row."""

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to report."""
        return not (self.broken or self.missing or self.altered or self.twice or self.orphans)

    def lines(self) -> Iterator[str]:
        """Yield the findings in words."""
        for path in self.broken:
            yield f"{path}: does not open"
        for (row_key, image_index), name in self.missing:
            yield f"{name}: missing (row key {row_key!r}, image {image_index})"
        for (row_key, image_index), name in self.altered:
            yield f"{name}: other bytes than written (row key {row_key!r}, image {image_index})"
        for row_key, image_index in self.twice:
            yield f"row key {row_key!r}, image {image_index}: has two rows"
        for path in self.orphans:
            yield f"{path}: has no row"
        yield f"{self.n_images} images, {'all well' if self.is_clean else 'not all well'}"


def verify(folder: JobFolder) -> Findings:
    """Read every byte of a job's folder and say what is wrong; changes nothing.

    Raises `JobInUse` while a start holds the folder, `FolderError` for what is no job.
    """
    refuse_no_job(folder)
    if folder.lock.exists():
        FolderLock(folder.lock).probe()
    return _findings(folder)


def repair(folder: JobFolder) -> Findings:
    """Repair a folder and return what was wrong with it.

    Sealed files that do not open, and images without a row, are moved to .batchgen/removed; rows
    without their right image are withdrawn, so that the next start makes them again.
    """
    refuse_no_job(folder)
    with FolderLock(folder.lock):
        removed = folder.hidden / "removed" / secrets.token_hex(4)
        findings = _findings(folder)
        for path in findings.broken:
            _move(path, removed / path.name)
        if findings.broken:
            findings = _merged(findings, _findings(folder))
        bad = [key for key, _ in findings.missing + findings.altered] + findings.twice
        if bad:
            _withdraw(folder, bad)
        for path in findings.orphans:
            _move(path, removed / path.relative_to(folder.root))
        for _, name in findings.altered:
            _move(folder.root / name, removed / name)
    return findings


def _findings(folder: JobFolder) -> Findings:
    findings = Findings(broken=[path for path in _sealed(folder) if not _opens(folder, path)])
    if findings.broken:
        return findings
    contents = consistently(folder, lambda: read_contents(folder))
    seen: set[Key] = set()
    names: set[str] = set()
    for _, table in live_tables(contents, _COLUMNS):
        for row in table.to_pylist():
            key = key_of(row)
            if key in seen:
                findings.twice.append(key)
            seen.add(key)
            names.add(row["file_name"])
            if folder.image_number(row["file_name"]) is None:
                findings.missing.append((key, row["file_name"]))
            else:
                _check_image(folder.root / row["file_name"], row, findings)
    findings.n_images = len(seen)
    findings.orphans = [
        path
        for path in sorted(folder.root.glob("images/**/*"))
        if path.is_file() and str(path.relative_to(folder.root)) not in names
    ]
    return findings


def _sealed(folder: JobFolder) -> Iterator[Path]:
    if folder.metadata.exists():
        yield folder.metadata
    yield from sorted(folder.parts.glob("[!.]*.parquet"))


def _opens(folder: JobFolder, path: Path) -> bool:
    try:
        MetadataNotes.read(path) if path == folder.metadata else PartNotes.read(path)
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches():
                pass
    except UnknownEvent:
        return True  # not damage: `read_contents` refuses it, and says that a newer version goes on
    except UNREADABLE:
        return False
    return True


def _check_image(path: Path, row: Record, findings: Findings) -> None:
    entry = (key_of(row), row["file_name"])
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        findings.missing.append(entry)
        return
    if hashlib.sha256(content).hexdigest() != row["file_sha256"]:
        findings.altered.append(entry)


def _merged(before: Findings, after: Findings) -> Findings:
    after.broken = before.broken
    return after


def _withdraw(folder: JobFolder, keys: list[Key]) -> None:
    to_schema = merged_schema(read_contents(folder))
    ledger = Ledger(folder, f"repair-{secrets.token_hex(3)}", to_schema)
    ledger.withdraw(sorted(set(keys)))
    ledger.close()
    compact(folder, {})


def _move(path: Path, target: Path) -> None:
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            path.replace(target)
