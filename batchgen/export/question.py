"""What `batchgen export` was asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchgen.errors import ConfigError


@dataclass(kw_only=True)
class Question:
    """Which images go where, and in which layout."""

    folders: list[Path]
    """Jobs, jobs in shards, and grids."""
    layout: str
    """A name of `layouts.LAYOUTS`."""
    out: Path
    where: str | None = None
    """An expression in SQL over the columns; only images for which it is true are taken."""
    only: Path | None = None
    """A CSV with a column `id`: no other images are taken."""
    without: Path | None = None
    """A CSV with a column `id`: these images are not taken."""
    columns: list[str] | None = None
    """The columns that go along; None is all of them."""
    link: bool = False
    """Whether pictures are hard links to those of the jobs."""

    def as_note(self) -> dict[str, Any]:
        """Return the question as JSON holds it; lists of picked images by their content."""
        return {
            "folders": [str(folder.resolve()) for folder in self.folders],
            "layout": self.layout,
            "where": self.where,
            "only": None if self.only is None else _content_hash(self.only),
            "without": None if self.without is None else _content_hash(self.without),
            "columns": self.columns,
            "link": self.link,
        }


def _content_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError([f"{path} cannot be read: {error.strerror}."]) from error
