"""A grid: one job per combination of overrides, in a folder of folders.

Each point's folder is named by a hash of what sets it apart, so a grid that is started again, cut
off or in another order, finds its points. `sweep.parquet` says which folder is which point.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.config.job import JobConfig
from batchgen.config.job_identity import of_point
from batchgen.errors import ExitCode, FolderError
from batchgen.ledger.seals import atomic_parquet
from batchgen.runner.swept import column, retyped, rounded, shown
from batchgen.storage.atomic import opening_errors, reading_errors
from batchgen.storage.folder import GRID_FILE, JobFolder

SEVERITY = (
    ExitCode.done, ExitCode.not_all_well, ExitCode.stopped, ExitCode.broken, ExitCode.refused,
    ExitCode.bug,
)  # fmt: skip
"""Exit codes of points from mild to severe; a grid ends with the worst of its points'."""

_TYPED = {b"batchgen:values": b"typed"}
"""Marks a sweep.parquet whose values have types; 0.1.0 wrote text."""

OWN = ("folder", "overrides", "settings")
"""Columns of sweep.parquet that are no swept key."""

_ANEW = "Move it away: the next start of the grid lists its points anew."


@dataclass(frozen=True, slots=True)
class Point:
    """One combination of a grid."""

    overrides: Mapping[str, Any]
    """Config key to the value it has here, of its own type."""
    config: JobConfig

    @property
    def label(self) -> str:
        """The combination in one line."""
        return " ".join(f"{key}={shown(value)}" for key, value in sorted(self.overrides.items()))

    @property
    def root(self) -> Path:
        """The grid's folder."""
        return self.config.whole_folder

    @property
    def folder_name(self) -> str:
        """Name of the point's folder: a hash of its settings.

        The order of a grid, its other points, and defaults that are spelt out do not matter.
        """
        return hashlib.sha256(self.settings.encode()).hexdigest()[:12]

    @property
    def settings(self) -> str:
        """All settings that are not the default, as JSON; what sets one point apart from any."""
        settings = of_point(self.config)
        return json.dumps(settings, sort_keys=True, ensure_ascii=False)

    def as_job(self) -> JobConfig:
        """Return the config with its own folder inside the grid's."""
        return replace(self.config, output_root=str(self.root), name=self.folder_name)


def worst(exit_codes: Sequence[ExitCode]) -> ExitCode:
    """Return the most severe exit code."""
    return max(exit_codes, key=SEVERITY.index)


def refuse_job(root: Path) -> None:
    """Raise `FolderError` where a grid would go into a job's folder."""
    if JobFolder(root).is_job():
        raise FolderError(
            f"{root} is a job and cannot become a grid. Choose another name= for the grid."
        )


def record_points(root: Path, points: Sequence[Point]) -> None:
    """Add points to the grid's sweep.parquet, making the folder where it is missing.

    Raises `FolderError` where the folder is a job.
    """
    refuse_job(root)
    path = root / GRID_FILE
    before, is_typed = _known(root)
    known = {row["folder"]: row for row in before}
    rows = {
        point.folder_name: {
            "folder": point.folder_name,
            "overrides": point.label,
            "settings": point.settings,
            **point.overrides,
        }
        for point in points
    }
    if all(name in known for name in rows) and is_typed:
        return
    merged = {**known, **rows}
    names = [*OWN]
    names += sorted({name for row in merged.values() for name in row} - set(names))
    arrays = [column([row.get(name) for row in merged.values()]) for name in names]
    table = pa.Table.from_arrays(arrays, names=names)
    with opening_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        if not os.access(root, os.W_OK):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    with atomic_parquet(path, table.schema, _TYPED) as writer:
        writer.write_table(table.replace_schema_metadata(_TYPED))


def known_points(root: Path) -> list[dict[str, Any]]:
    """Return the rows of a grid's sweep.parquet, their values typed; none where there is no file.

    Raises `FolderError` for a file that does not open.
    """
    return _known(root)[0]


def _known(root: Path) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows of a sweep.parquet, and whether their values have types in the file.

    In a file of 0.1.0 every value is text, and a text may have Hydra's escapes in it.
    """
    table = _listed(root)
    if table is None:
        return [], False
    rows: list[dict[str, Any]] = table.to_pylist()
    is_typed = (table.schema.metadata or {}).items() >= _TYPED.items()
    if not is_typed:
        rows = [
            {name: value if name in OWN else retyped(name, value) for name, value in row.items()}
            for row in rows
        ]
    return rows, is_typed


def _listed(root: Path) -> pa.Table | None:
    """Return the sweep.parquet of a grid, None where there is none."""
    path = root / GRID_FILE
    try:
        with reading_errors(root):
            table = pq.read_table(path) if path.exists() else None
    except (OSError, pa.ArrowException) as error:
        raise FolderError(f"{path} does not open ({error}). {_ANEW}") from error
    if table is not None and not {*OWN} <= {*table.column_names}:
        raise FolderError(f"{path} was not written by batchgen. {_ANEW}")
    return table


class Twins:
    """The points of a grid's sweep.parquet, found by settings that differ in last digits only."""

    def __init__(self, root: Path) -> None:
        """Read the file, where there is one."""
        rows = known_points(root)
        self._folders = {row["folder"] for row in rows}
        self._by_settings = {rounded(row["settings"]): row for row in rows}

    def of(self, point: Point) -> Mapping[str, Any] | None:
        """Return the row of a point that stands there under other digits, or None."""
        if not self._folders or point.folder_name in self._folders:
            return None
        return self._by_settings.get(rounded(point.settings))


def label_of(folder: Path) -> str | None:
    """Return the combination that a folder of a grid is, in one line; None for any other folder."""
    place = folder.resolve()
    table = _listed(place.parent)
    points = [] if table is None else table.select(["folder", "overrides"]).to_pylist()
    return next((point["overrides"] for point in points if point["folder"] == place.name), None)
