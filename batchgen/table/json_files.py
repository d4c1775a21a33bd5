"""JSON: an object a line, or one array of objects. Blank lines are no rows."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchgen.config.reading import ReadingConfig
from batchgen.errors import TableError
from batchgen.table.files import suffix_of
from batchgen.table.raw import RawRows, shown
from batchgen.table.text import is_text, open_text, pieced, string_column, undecodable
from batchgen.table.text_file import line_reader

HEAD_ROWS = 1000
"""Rows of a JSON file that stand for its header."""

_BLOCK = 2**16
"""Characters of an array that are read at once."""

_SPACE = re.compile(r"[ \t\n\r]*")

_LONG = 2**63
_EXACT = 2**53
"""Whole numbers up to this are exact as a float64, too."""

_Reader = Callable[[int], tuple[int, list[str]] | None]


class JsonFile:
    """Objects of a JSON file; keys may differ from row to row, so the columns may grow.

    Numbers and booleans of carried columns keep their types, which are known once the whole file
    was read: whole numbers and others make float64, and what does not agree is text, in which all
    but text itself is JSON. Until then all is text.
    """

    def __init__(self, path: Path, reading: ReadingConfig) -> None:
        self._path = path
        self._encoding = reading.encoding
        self._is_array = suffix_of(path) == ".json"
        self._kinds: dict[str, _Kind] = {}
        self._used: frozenset[str] = frozenset()
        self._is_settled = False
        self.pictures, self.has_quotes = frozenset[str](), False
        self.notes: list[str] = []
        with open_text(path, reading.encoding) as stream:
            _, head = self._reader(stream)(HEAD_ROWS) or (0, [])
            for index, line in enumerate(head):
                self._learn(index, self._parsed(index, line))
        if not self._kinds:
            raise TableError(f"{path} has no rows. Write a JSON object with a prompt for each row.")

    @property
    def schema(self) -> pa.Schema:
        """The columns met by now."""
        return pa.schema([(name, self._type(name)) for name in self._kinds])

    def choose(self, used: Collection[str], carried: Collection[str]) -> None:  # noqa: ARG002
        """Read the columns that give settings as text; see `raw.Source`."""
        self._used = frozenset(used)

    def place(self, row_index: int) -> str:
        """Return where a row is; see `raw.Source`."""
        return f"{self._path}, row {row_index}"

    def raw_rows(self, first_row: int, chunk_rows: int) -> Iterator[RawRows]:
        """Yield the rows from `first_row` on; see `raw.Source`."""
        with open_text(self._path, self._encoding) as stream:
            read = self._reader(stream)
            for first, pieces in pieced(read, stream, first_row, chunk_rows):
                yield self._chunk(first, pieces)

    def settle(self) -> None:
        """Give carried columns the types of their values; see `raw.Source`."""
        self._is_settled = True

    def _reader(self, stream: io.TextIOWrapper) -> _Reader:
        return _array_reader(stream, self._path) if self._is_array else line_reader(stream)

    def _type(self, name: str) -> pa.DataType:
        is_text = name in self._used or not self._is_settled
        return pa.string() if is_text else self._kinds[name].type

    def _chunk(self, first: int, pieces: list[list[str]]) -> RawRows:
        columns: dict[str, list[Any]] = {name: [] for name in self._kinds}
        n_rows = 0
        for lines in pieces:
            rows = [self._parsed(first + n_rows + i, line) for i, line in enumerate(lines)]
            for i, row in enumerate(rows):
                if not row.keys() <= columns.keys():
                    self._learn(first + n_rows + i, row)
                    columns |= {name: [None] * n_rows for name in row if name not in columns}
            for name, cells in columns.items():
                cells.extend([row.get(name) for row in rows])
            n_rows += len(rows)
        nested: dict[str, int] = {}
        arrays = [self._column(name, columns[name], first, nested) for name in self._kinds]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        return RawRows(self._path, first, batch, nested)

    def _column(self, name: str, cells: list[Any], first: int, nested: dict[str, int]) -> Any:
        types = set(map(type, cells))
        if not self._is_settled:
            self._kinds[name].add(types, cells)
        if types & {list, dict}:
            nested[name] = next(i for i, cell in enumerate(cells) if isinstance(cell, (list, dict)))
        if not pa.types.is_string(self._type(name)):
            return pa.array(cells, self._type(name))
        if not types <= {str, type(None)}:
            cells = [self._as_text(name, first + i, cell) for i, cell in enumerate(cells)]
        return string_column(
            cells,
            lambda i, cell: TableError(
                f"{self._path}, row {first + i}: column {name!r} has {shown(cell)}, which holds "
                "half of a surrogate pair. Correct its \\u escape."
            ),
        )

    def _as_text(self, name: str, index: int, cell: object) -> str | None:
        if cell is None or isinstance(cell, str):
            return cell
        try:
            return json.dumps(cell, ensure_ascii=False)
        except RecursionError as error:
            raise TableError(
                f"{self._path}, row {index}: column {name!r} is nested too deeply. Flatten it."
            ) from error

    def _learn(self, index: int, row: dict[str, Any]) -> None:
        for name in row:
            if not name.strip() or not is_text(name):
                raise TableError(
                    f"{self._path}, row {index}: the key {shown(name)} cannot name a column. "
                    "Rename it."
                )
            self._kinds.setdefault(name, _Kind())

    def _parsed(self, index: int, line: str) -> dict[str, Any]:
        if not line.isascii() and not is_text(line):
            raise undecodable(self._path, self._encoding, f"row {index}: the line", line.strip())
        try:
            row = _DECODER.decode(line.removesuffix("\n"))
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise self._bad_line(index, line, f"is not JSON ({reason})") from error
        if not isinstance(row, dict):
            raise self._bad_line(index, line, "is not a JSON object")
        return row

    def _bad_line(self, index: int, line: str, problem: str) -> TableError:
        form = "an array of objects" if self._is_array else "one object a line"
        return TableError(
            f"{self._path}, row {index} {problem}: {shown(line.strip())}. "
            f'Write {form}, such as {{"prompt": "a cat"}}.'
        )


class _Kind:
    """What kinds of values a column has."""

    def __init__(self) -> None:
        self._types: set[type] = set()
        self._largest = 0

    def add(self, types: set[type], cells: list[Any]) -> None:
        """Take in some of its values, and the types among them."""
        self._types |= types - {type(None)}
        if int in types:
            whole = [abs(cell) for cell in cells if type(cell) is int]
            self._largest = max(self._largest, *whole)

    @property
    def type(self) -> pa.DataType:
        """The Arrow type that holds them all, which is text where no other does."""
        if self._types == {bool}:
            return pa.bool_()
        if self._types == {int} and self._largest < _LONG:
            return pa.int64()
        if float in self._types and self._types <= {int, float} and self._largest <= _EXACT:
            return pa.float64()
        return pa.string()


def _array_reader(stream: io.TextIOWrapper, path: Path) -> _Reader:
    """Return a function for `text.pieced` that reads the elements of an array, each as its text."""
    elements = _elements(stream, path)

    def read(n_records: int) -> tuple[int, list[str]] | None:
        rows = list(islice(elements, n_records))
        return (len(rows), rows) if rows else None

    return read


def _elements(stream: io.TextIOWrapper, path: Path) -> Iterator[str]:
    """Yield the elements of an array, whose text is read a block at a time."""
    text = stream.read(_BLOCK)
    at, index = _after_space(text, 0) + 1, 0
    while True:
        start = _after_space(text, at)
        if text.startswith("]", start):
            return
        has_comma = text.startswith(",", start)
        if has_comma and index:
            start = _after_space(text, start + 1)
        end = _end_of_value(text, start) if has_comma or not index else None
        if end is not None:
            yield text[start:end]
            at, index = end, index + 1
            continue
        more = stream.read(max(_BLOCK, len(text) - at))
        if not more:
            what = "is not JSON" if text[start:] else "is missing, or the bracket behind it"
            raise TableError(
                f"{path}, row {index} {what}: {shown(text[start:].strip())}. Write an array of "
                'objects, such as [{"prompt": "a cat"}].'
            )
        text, at = text[at:] + more, 0


def _end_of_value(text: str, start: int) -> int | None:
    """Return where a JSON value ends, None where it is not whole, or is none."""
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {shown(next(k for k in keys if keys.count(k) > 1))} comes twice")
    return row


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{shown(text)} is not a finite number")
    return value


def _missing(_: str) -> None:
    """Return null for NaN and infinity, which pandas and json write for what is missing."""


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_missing)
