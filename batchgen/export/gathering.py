"""The finished images of jobs, shards and grids as one stream, the same each time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchgen.errors import FolderError
from batchgen.export.question import Question
from batchgen.export.selection import Selection
from batchgen.ledger.contents import consistently, read_contents, refuse_no_job
from batchgen.ledger.reader import merged_schema, rows_in_order
from batchgen.ledger.records import as_type
from batchgen.ledger.schema import METADATA
from batchgen.storage.folder import GRID_FILE, JobFolder
from batchgen.storage.job_search import jobs_in
from batchgen.storage.lock import FolderLock

_compute: Any = pc
_ROWS_AT_ONCE = 1024
_OURS = frozenset(column.name for column in METADATA)
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """An image that is taken."""

    id: str
    """`KEY-INDEX`, in a grid `POINT-KEY-INDEX`."""
    job: JobFolder
    row: dict[str, Any]
    """All columns, `id` first."""
    number: int
    """Which image it is of all that are taken, from 0."""
    row_number: int
    """Which row of a table its row is among those of all that are taken, from 0."""
    position: int
    """Which image of its row it is among those that are taken, from 0."""

    @property
    def path(self) -> Path:
        """Its file."""
        return self.job.root / str(self.row["file_name"])

    @property
    def suffix(self) -> str:
        """The end of its file's name, with the dot."""
        return self.path.suffix


@dataclass(frozen=True, slots=True)
class _Origin:
    """A job that images come from."""

    job: JobFolder
    point: str | None
    """The point of a grid that it is."""


class Gathering:
    """The images of a question's folders; reads their metadata anew each time it is asked."""

    def __init__(self, question: Question) -> None:
        """Find the jobs.

        Raises:
            FolderError: A folder is neither job nor grid, or there is no such column.
            JobInUse: A start works in one of them.
            ConfigError: What is to be selected cannot be asked.
        """
        self._selection = Selection(question)
        self._origins = [origin for root in question.folders for origin in _origins(root)]
        schemas = [_schema_of(origin.job) for origin in self._origins]
        self._has_points = any(origin.point is not None for origin in self._origins)
        self._read = _united(schemas)
        self._names = _exported_names(self._read, has_points=self._has_points)
        self.schema = self._exported(question.columns)
        """The columns that go along with the pictures: `id` first, and never `file_name`."""
        self.own = [name for name in self._names if name not in _OURS and name in self._read.names]
        """The tables' own columns."""

    @property
    def jobs(self) -> list[JobFolder]:
        """The folders that are read, in order."""
        return [origin.job for origin in self._origins]

    def entries(self) -> Iterator[Entry]:
        """Yield the images that are taken: a job after another, each in its table's order."""
        before, row_number, position = None, -1, 0
        for number, (job, row) in enumerate(self._rows()):
            is_next = before != (job, row["row_key"])
            row_number += is_next
            position = 0 if is_next else position + 1
            before = (job, row["row_key"])
            yield Entry(row["id"], job, row, number, row_number, position)
        self._selection.refuse_unmet()

    def ids(self) -> Iterator[Any]:
        """Yield the ids of the images that are taken, a column of many at a time."""
        for _, table in self._selected():
            yield table["id"]

    def exported(self, entry: Entry) -> dict[str, Any]:
        """Return those columns of an image that go along."""
        return {name: entry.row[name] for name in self.schema.names}

    def _rows(self) -> Iterator[tuple[JobFolder, dict[str, Any]]]:
        for origin, table in self._selected():
            for batch in table.to_batches(_ROWS_AT_ONCE):
                yield from ((origin.job, row) for row in batch.to_pylist())

    def _selected(self) -> Iterator[tuple[_Origin, pa.Table]]:
        for origin in self._origins:
            for table in rows_in_order(origin.job):
                yield origin, self._selection.of(self._named(origin, table))

    def _named(self, origin: _Origin, table: pa.Table) -> pa.Table:
        """Return rows of a job with the columns of all jobs, and those that this room adds."""
        there = set(table.schema.names)
        columns = {
            new: as_type(table[field.name], field.type)
            if field.name in there
            else pa.nulls(table.num_rows, field.type)
            for new, field in zip(self._names, self._read, strict=True)
        }
        key: list[Any] = [table["row_key"], table["image_index"].cast(pa.string())]
        if origin.point is not None:
            key = [pa.scalar(origin.point), *key]
        added = {"id": _compute.binary_join_element_wise(*key, "-")}
        if self._has_points:
            added["point"] = pa.repeat(pa.scalar(origin.point, pa.string()), table.num_rows)
        return pa.table({**added, **columns})

    def _exported(self, chosen: list[str] | None) -> pa.Schema:
        added = ["id", "point"] if self._has_points else ["id"]
        fields = [pa.field(name, pa.string()) for name in added]
        fields += [
            pa.field(name, field.type) for name, field in zip(self._names, self._read, strict=True)
        ]
        fields = [field for field in fields if field.name != "file_name"]
        if chosen is not None:
            names = [field.name for field in fields]
            unknown = [name for name in chosen if name not in names]
            if unknown:
                raise FolderError(
                    f"There is no column {unknown[0]!r} for --columns; there are: "
                    f"{', '.join(names)}."
                )
            fields = [field for field in fields if field.name in ("id", *chosen)]
        return pa.schema(fields)


def _origins(root: Path) -> list[_Origin]:
    jobs = jobs_in(root)
    is_grid = (root / GRID_FILE).exists()
    if not is_grid and not JobFolder(root).is_job() and not JobFolder(root).shards():
        named = ", ".join(str(job.root) for job in jobs[:_SHOWN])
        raise FolderError(f"{root} is neither a job nor a grid. Name those in it: {named}")
    for job in jobs:
        refuse_no_job(job)
        if job.lock.exists():
            FolderLock(job.lock).probe()
    if not is_grid:
        return [_Origin(job, None) for job in jobs]
    return [_Origin(job, job.root.relative_to(root).parts[0]) for job in jobs]


def _schema_of(job: JobFolder) -> pa.Schema:
    return consistently(job, lambda: merged_schema(read_contents(job)))


def _united(schemas: list[pa.Schema]) -> pa.Schema:
    """Return the columns of all jobs; one that has another type in another job is text."""
    fields: dict[str, Any] = {}
    for field in (field for schema in schemas for field in schema):
        known = fields.setdefault(field.name, field)
        if pa.types.is_null(known.type):
            fields[field.name] = field
        elif field.type != known.type and not pa.types.is_null(field.type):
            fields[field.name] = pa.field(field.name, pa.string())
    texts = [pa.field(f.name, pa.string()) if pa.types.is_null(f.type) else f
             for f in fields.values()]  # fmt: skip
    return pa.schema(texts)


def _exported_names(schema: pa.Schema, *, has_points: bool) -> list[str]:
    """Return what the columns are called: one with a name that this room adds is `table_NAME`."""
    taken = {"id", "point"} if has_points else {"id"}
    names: list[str] = []
    for name in schema.names:
        while name in taken:
            name = f"table_{name}"  # noqa: PLW2901
        names.append(name)
        taken.add(name)
    return names
