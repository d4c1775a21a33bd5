"""The own columns of a prompt table, given to rows that were committed under an earlier table.

They are no settings: an edit of them makes no image anew, and the metadata has what the table has
now. Rows that left the table keep what they have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchgen.config.counts import counted
from batchgen.ledger.contents import Contents
from batchgen.ledger.reader import in_order, live_tables, merged_schema
from batchgen.ledger.records import as_type
from batchgen.ledger.schema import METADATA, carried_name, schema
from batchgen.plan.fingerprint import text_hashes
from batchgen.table import Rows, Table

_compute: Any = pc
_OURS = [column.name for column in METADATA]


@dataclass(slots=True)
class Followed:
    """What following the table changed."""

    n_rows: int = 0
    """Rows with another value now."""
    columns: tuple[str, ...] = ()
    """Columns that were added, removed, or have another type now."""
    as_text: tuple[str, ...] = ()
    """Columns that are text, as rows that left the table hold values of another type."""

    def __str__(self) -> str:
        """Return it as a sentence; empty where nothing changed."""
        if not self.n_rows and not self.columns:
            return ""
        named = f", columns {', '.join(self.columns)} among them" if self.columns else ""
        text = f"; {', '.join(self.as_text)} as text" if self.as_text else ""
        return (
            f"the table's own columns changed{named}: its present values are in "
            f"{counted(self.n_rows, 'row')} of the metadata{text}, and no image was made anew"
        )


def is_followed(contents: Contents, table: str) -> bool:
    """Return whether all rows have their own columns from this table, `Table.origin`."""
    return all(source.table == table for source in contents.sources if source.n_rows)


class TableNow:
    """A table, to look up the own columns of rows by their keys; reads it once to begin with."""

    def __init__(self, table: Table) -> None:
        hashes = [text_hashes(rows.settings["row_key"]) for rows in table.chunks()]
        keys = np.concatenate(hashes)
        self._order = np.argsort(keys)
        self._sorted = keys[self._order]
        self._window = _Window(table)
        self.schema = pa.schema(
            [pa.field(carried_name(one.name), one.type) for one in table.carried]
        )

    def places(self, row_keys: Any) -> NDArray[np.int64]:
        """Return the row index of each key, (n,), -1 for a row that is not in the table."""
        hashes = text_hashes(row_keys)
        at = np.searchsorted(self._sorted, hashes)
        at[at == len(self._sorted)] = 0
        is_found = self._sorted[at] == hashes
        return np.where(is_found, self._order[at], -1).astype(np.int64)

    def columns(self, places: NDArray[np.int64]) -> pa.Table:
        """Return the own columns of rows by their row indexes, which are 0 or more."""
        if not len(places):
            return self.schema.empty_table()
        return self._window.take(places).rename_columns(self.schema.names)


class _Window:
    """Rows of a table around those that were asked for last; moves forward as they do."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._chunks: Iterator[Rows] = iter(())
        self._held: list[Rows] = []
        self._end = 0

    def take(self, places: NDArray[np.int64]) -> pa.Table:
        low, high = int(places.min()), int(places.max())
        if not self._held or low < self._held[0].first_index:
            self._chunks, self._held, self._end = self._table.chunks(low), [], low
        while self._end <= high:
            self._held.append(next(self._chunks))
            self._end = self._held[-1].first_index + self._held[-1].settings.num_rows
        self._held = [
            rows for rows in self._held if rows.first_index + rows.settings.num_rows > low
        ]
        schema_now = self._table.carried
        parts = [_carried(rows, schema_now) for rows in self._held]
        return pa.concat_tables(parts).take(places - self._held[0].first_index)


def _carried(rows: Rows, to_schema: pa.Schema) -> pa.Table:
    """Return the own columns of rows; one that was met later is null."""
    n_rows, names = rows.settings.num_rows, rows.carried.schema.names
    arrays = [
        as_type(rows.carried[field.name], field.type)
        if field.name in names
        else pa.nulls(n_rows, field.type)
        for field in to_schema
    ]
    return pa.Table.from_arrays(arrays, schema=to_schema)


def followed_schema(contents: Contents, now: TableNow) -> tuple[pa.Schema, Followed]:
    """Return the columns of the metadata once it follows the table, and what of them changes."""
    before = merged_schema(contents)
    own_before = [one for one in before if one.name not in _OURS]
    left = _left_behind(contents, before, now)
    fields: dict[str, Any] = {one.name: one for one in now.schema}
    as_text = []
    for old in own_before:
        rows = left[old.name]
        if old.name in fields and not _fits(rows, fields[old.name].type):
            fields[old.name] = pa.field(old.name, pa.string())
            as_text.append(old.name)
        elif old.name not in fields and rows.null_count < len(rows):
            fields[old.name] = old
    after = pa.schema([*schema(METADATA), *fields.values()])
    changed = {one.name: one.type for one in own_before}.items() ^ {
        one.name: one.type for one in fields.values()
    }.items()
    names = tuple(dict.fromkeys(sorted(name for name, _ in changed)))
    return after, Followed(columns=names, as_text=tuple(as_text))


def _left_behind(contents: Contents, before: pa.Schema, now: TableNow) -> dict[str, Any]:
    """Return the own columns of the rows that left the table."""
    own = [one for one in before if one.name not in _OURS]
    kept: dict[str, list[Any]] = {one.name: [] for one in own}
    for _, table in live_tables(contents):
        gone = table.filter(now.places(table["row_key"]) < 0)
        for one in own:
            if gone.num_rows and one.name in gone.schema.names:
                kept[one.name] += as_type(gone[one.name], one.type).chunks
    return {one.name: pa.chunked_array(kept[one.name], one.type) for one in own}


def _fits(column: Any, kind: pa.DataType) -> bool:
    try:
        as_type(column, kind)
    except pa.ArrowException:
        return False
    return True


def following(
    contents: Contents, now: TableNow, to_schema: pa.Schema, found: Followed
) -> Iterator[pa.Table]:
    """Yield what is committed, in order, with the own columns of the table of now.

    Args:
        contents: What the folder holds.
        now: The table.
        to_schema: From `followed_schema`.
        found: Its other result; the rows that change are counted in it.
    """
    before = merged_schema(contents)
    for table in in_order(contents, before):
        places = now.places(table["row_key"])
        is_found = places >= 0
        values = now.columns(places[is_found])
        n_new = values.num_rows
        at = np.where(is_found, np.cumsum(is_found) - 1, n_new + np.arange(len(places)))
        is_changed = np.zeros(len(places), dtype=bool)
        arrays: list[Any] = []
        for field in to_schema:
            if field.name in _OURS:
                arrays.append(table[field.name])
                continue
            old = _column(table, field)
            new = _column(values, field)
            both = pa.chunked_array([*new.chunks, *old.chunks], field.type).combine_chunks()
            arrays.append(both.take(at))
            is_changed |= _differ(arrays[-1], old.combine_chunks())
        found.n_rows += int(np.count_nonzero(is_changed & is_found))
        yield pa.Table.from_arrays(arrays, schema=to_schema)


def _column(table: pa.Table, field: Any) -> Any:
    """Return a column as the type of a field; null where there is none, or a value does not fit."""
    if field.name not in table.schema.names:
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    try:
        return as_type(table[field.name], field.type)
    except pa.ArrowException:
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)])


def _differ(one: Any, other: Any) -> NDArray[np.bool_]:
    """Return where two columns of one type differ, (n,); null equals null."""
    is_equal = _compute.fill_null(_compute.equal(one, other), False)
    both_null = _compute.and_(_compute.is_null(one), _compute.is_null(other))
    differ: NDArray[np.bool_] = ~np.asarray(_compute.or_(is_equal, both_null))
    return differ
