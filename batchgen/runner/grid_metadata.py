"""The metadata of a grid's jobs as one table: which point a row is of, then its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchgen.errors import FolderError
from batchgen.ledger.reader import read_table
from batchgen.ledger.records import as_type
from batchgen.runner.grid import OWN, known_points
from batchgen.runner.swept import column
from batchgen.storage.folder import GRID_FILE, JobFolder

_compute: Any = pc


def started_points(root: Path) -> list[dict[str, Any]]:
    """Return the rows of a grid's sweep.parquet whose folders are jobs by now."""
    return [row for row in known_points(root) if JobFolder(root / row["folder"]).is_job()]


def swept_keys(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the config keys that a grid varies, as they were typed."""
    return sorted({name for row in points for name in row} - {*OWN})


def read_metadata(root: Path) -> pa.Table:
    """Return all that is committed of a job, or of all started points of a grid.

    A grid's table begins with `point` and a column a swept key, `point.KEY` where the metadata has
    a column KEY; `file_name` is relative to the grid's folder.
    """
    if JobFolder(root).is_job() or not (root / GRID_FILE).exists():
        return read_table(JobFolder(root))
    points = started_points(root)
    if not points:
        raise FolderError(f"{root} is a grid, and none of its points has begun.")
    tables = [_usual(root, row["folder"]) for row in points]
    taken = {name for table in tables for name in table.column_names}
    lengths = [table.num_rows for table in tables]
    added: dict[str, Any] = {"point": _repeated([row["folder"] for row in points], lengths)}
    for key in swept_keys(points):
        name = f"point.{key}" if key in taken else key
        added[name] = _repeated([row.get(key) for row in points], lengths)
    usual = _stacked(tables)
    for name in usual.column_names:
        added[name] = usual[name]
    return pa.table(added)


def _usual(root: Path, point: str) -> pa.Table:
    """Return a point's metadata, its file names relative to the grid's folder."""
    table = read_table(JobFolder(root / point))
    names = ["table_point" if name == "point" else name for name in table.column_names]
    at = names.index("file_name")
    files = _compute.binary_join_element_wise(point, table["file_name"], "/")
    return table.rename_columns(names).set_column(at, "file_name", files)


def _repeated(values: Sequence[Any], lengths: Sequence[int]) -> pa.Array[Any]:
    """Return a value a point as a column: each as often as its point has rows."""
    at = [i for i, length in enumerate(lengths) for _ in range(length)]
    taken: pa.Array[Any] = column(values).take(pa.array(at, pa.int64()))
    return taken


def _stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """Return tables as one; a column that has two types in them is text."""
    kinds: dict[str, set[pa.DataType]] = {}
    for field in (field for table in tables for field in table.schema):
        if not pa.types.is_null(field.type):
            kinds.setdefault(field.name, set()).add(field.type)
    mixed = {name for name, found in kinds.items() if len(found) > 1}
    fitted = []
    for table in tables:
        columns: dict[str, Any] = {name: table[name] for name in table.column_names}
        for name in mixed & {*columns}:
            columns[name] = as_type(columns[name], pa.string())
        fitted.append(pa.table(columns))
    return pa.concat_tables(fitted, promote_options="default")
