"""SHA-256 of large files, computed once and then recognised by size, time and inode."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchgen.errors import StorageError
from batchgen.storage.atomic import write_atomically

logger = logging.getLogger(__name__)


def hashes(files: Sequence[Path], stamps: Path) -> list[str]:
    """SHA-256 of each file; those whose size, time and inode are as in `stamps` are not read.

    `stamps` is a JSON file of earlier answers, replaced in one step; a damaged one is rebuilt.
    """
    known = _stamps(stamps)
    answers, is_new = [], False
    for file in files:
        status = file.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
        key = str(file.resolve())
        if key not in known or known[key][:3] != stamp:
            logger.info("Hashing %s.", file)
            known[key] = [*stamp, sha256(file)]
            is_new = True
        answers.append(str(known[key][3]))
    if is_new:
        _write(stamps, json.dumps(known))
    return answers


def sha256(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _stamps(file: Path) -> dict[str, list[Any]]:
    try:
        known = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {k: v for k, v in known.items() if isinstance(v, list) and len(v) == 4}


def _write(file: Path, text: str) -> None:
    """Replace a file in one step; a failure only costs time at the next start, so it is logged."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text.encode())
    except (OSError, StorageError) as error:
        logger.warning(
            "%s cannot be written (%s): hashes are computed anew each time.", file, error
        )
