"""Paths as people write them: `~` is somebody's home, and a link may lead nowhere."""

from __future__ import annotations

from os import PathLike
from pathlib import Path


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
