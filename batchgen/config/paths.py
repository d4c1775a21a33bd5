"""Paths as people write them: `~` is somebody's home, and a link may lead nowhere."""

from __future__ import annotations

import os
import re
from os import PathLike
from pathlib import Path

_SUFFIX = re.compile(r"(\.(csv|tsv|txt|jsonl|ndjson|json|parquet|pq))?(\.(gz|zst))?$")


def expanded(path: str | PathLike[str]) -> Path:
    """Return a path with `~` or `~name` in front expanded, where there is such a home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # nobody of that name
        return Path(path)


def absence(path: Path) -> str:
    """Say in what way nothing is at a path: `is not there`, or a link that leads nowhere."""
    if path.is_symlink():
        return f"is a link to {str(path.readlink())!r}, and nothing is there"
    return "is not there"


def is_pattern(table: str) -> bool:
    """Whether `table` matches files, as `shards/*.csv` does, and is not itself the name of one."""
    return any(character in table for character in "*?[") and not os.path.lexists(table)


def table_name(table: str) -> str:
    """Return what a job of a table is called: the file's name without suffixes, or the folder's.

    Of a pattern, the folder's that it looks in.
    """
    path = Path(table).absolute() if table else Path()
    if not is_pattern(table):
        return _SUFFIX.sub("", path.name)
    while is_pattern(path.name):
        path = path.parent
    return path.name
