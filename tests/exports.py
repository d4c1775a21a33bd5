"""Exports of small jobs, and what is compared in their tests."""

from __future__ import annotations

from pathlib import Path

from batchgen.export.exporting import Exported, export
from batchgen.export.question import Question
from batchgen.ledger.reader import read_table
from batchgen.storage.folder import JobFolder


class Ask:
    """Exports a job to a place; what the fixture `ask` returns."""

    def __init__(self, job: JobFolder, out: Path) -> None:
        """Take the job and the place."""
        self.job, self.out = job, out

    def __call__(self, layout: str, **asked: object) -> Exported:
        """Export the job to `out`."""
        question = {"folders": [self.job.root], "out": self.out, "layout": layout, **asked}
        return export(Question(**question))  # type: ignore[arg-type]


def pictures(job: JobFolder) -> list[tuple[bytes, str]]:
    """Return the bytes and the prompt of each image of a job, in order."""
    rows = read_table(job).to_pylist()
    return [((job.root / row["file_name"]).read_bytes(), row["text"]) for row in rows]


def files(place: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    found = sorted(path for path in place.rglob("*") if path.is_file())
    return {str(path.relative_to(place)): path.read_bytes() for path in found}
