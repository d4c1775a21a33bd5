"""`batchgen verify --repair`: a folder whose files and rows agree again."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from batchgen.ledger.compaction import compact
from batchgen.ledger.contents import read_contents, refuse_no_job
from batchgen.ledger.findings import Findings
from batchgen.ledger.reader import merged_schema
from batchgen.ledger.records import Key
from batchgen.ledger.verification import findings_in
from batchgen.ledger.writer import Ledger
from batchgen.storage.atomic import storage_errors
from batchgen.storage.folder import JobFolder
from batchgen.storage.lock import FolderLock


def repair(folder: JobFolder) -> tuple[Findings, Findings]:
    """Repair a folder, and return what was wrong with it and what is wrong still.

    Sealed files that do not open or have other bytes than were written, copies of parts, and files
    under images/ without a row are moved to .batchgen/removed. A missing image that lies under
    another name is moved back. Other rows without their right image are withdrawn, so that the next
    start makes them again.
    """
    refuse_no_job(folder)
    folder.refuse_shards()
    folder.create()  # a copy made with `cp job/* place` has no hidden folder
    with FolderLock(folder.lock):
        removed = folder.removed / secrets.token_hex(4)
        findings = findings_in(folder)
        if findings.broken:
            broken = findings.broken
            for path in broken:
                move(path, removed / path.name)
            findings = findings_in(folder)
            findings.broken = broken
        _mend(folder, findings, removed)
        return findings, findings_in(folder)


def _mend(folder: JobFolder, findings: Findings, removed: Path) -> None:
    for path in findings.copies:
        move(path, removed / path.name)
    for name, place in findings.elsewhere.items():
        move(place, folder.root / name)
    gone = [key for key, name in findings.missing if name not in findings.elsewhere]
    bad = [*gone, *(key for key, _ in findings.altered), *findings.twice]
    if bad or findings.damaged or findings.broken:
        _withdraw(folder, bad)
    for path in findings.orphans:
        if path not in findings.elsewhere.values():
            move(path, removed / path.relative_to(folder.root))
    for _, name in findings.altered:
        move(folder.root / name, removed / name)


def _withdraw(folder: JobFolder, keys: list[Key]) -> None:
    to_schema = merged_schema(read_contents(folder))
    ledger = Ledger(folder, f"repair-{secrets.token_hex(3)}", to_schema)
    if keys:
        ledger.withdraw(sorted(set(keys)))
    ledger.close()
    compact(folder, {})


def move(path: Path, target: Path) -> None:
    """Move a file, if it is there; to another disk as well, as images/ may be a link to one."""
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            shutil.move(path, target)
