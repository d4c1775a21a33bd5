"""What is wrong with a job's folder, and how it is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from batchgen.config.counts import counted
from batchgen.ledger.records import Key


@dataclass(slots=True)
class Findings:
    """What is wrong with a folder; all empty where nothing is."""

    n_images: int = 0
    broken: list[Path] = field(default_factory=list)
    """Sealed files that do not open or have other bytes than were written, journals that are not
    files."""
    damaged: list[str] = field(default_factory=list)
    """Journal lines whose checksum is wrong, as path and line."""
    copies: list[Path] = field(default_factory=list)
    """Parts all of whose rows are in another file as well."""
    missing: list[tuple[Key, str]] = field(default_factory=list)
    """Rows whose image is not there."""
    altered: list[tuple[Key, str]] = field(default_factory=list)
    """Rows whose image has other bytes than it was written with, or is not a file."""
    twice: list[Key] = field(default_factory=list)
    """Images that have two rows."""
    orphans: list[Path] = field(default_factory=list)
    """What is under images/ and has no row."""
    elsewhere: dict[str, Path] = field(default_factory=dict)
    """Missing images that lie among the orphans, by their own name."""
    n_unseen: int = 0
    """Missing images of a job that does not look for them, `on_missing=trust`; nothing is wrong."""

    is_at_work: bool = False
    """Whether a start was, all the while or for some of it."""

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to report."""
        of_ledger = (self.broken, self.damaged, self.copies, self.twice)
        return not any((*of_ledger, self.missing, self.altered, self.orphans))

    def lines(self) -> Iterator[str]:
        """Yield the findings in words."""
        for path in self.broken:
            yield f"{path}: does not open, or has other bytes than were written"
        for where in self.damaged:
            yield f"{where}: damaged; what it recorded is lost"
        for path in self.copies:
            yield f"{path}: all its rows are in another file, too"
        for (row_key, image_index), name in self.missing:
            place = f"; its bytes are in {self.elsewhere[name]}" if name in self.elsewhere else ""
            yield f"{name}: missing (row key {row_key!r}, image {image_index}){place}"
        for (row_key, image_index), name in self.altered:
            yield f"{name}: other bytes than written (row key {row_key!r}, image {image_index})"
        for row_key, image_index in self.twice:
            yield f"row key {row_key!r}, image {image_index}: has two rows"
        for path in self.orphans:
            yield f"{path}: has no row"
        if self.n_unseen:
            unseen = counted(self.n_unseen, "image")
            yield f"not seen: {unseen}, as on_missing=trust does not look for them"
        if self.is_at_work:
            yield "a start is at work here: what it has in flight is not judged"
        judgement = "all well" if self.is_clean else "not all well"
        yield f"{counted(self.n_images, 'image')}, {judgement}"
