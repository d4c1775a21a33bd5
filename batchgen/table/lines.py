"""JSON Lines, one object a line, and plain text, one prompt a line. Blank lines are no rows."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchgen.config.job import ReadingConfig
from batchgen.errors import TableError
from batchgen.table.raw import RawRows, shown
from batchgen.table.text import is_text, open_text, pieced, string_column, undecodable

_HEADER_CHARS = 500

HEAD_ROWS = 1000
"""Lines of a JSON Lines file that stand for its header."""


def _line_reader(stream: io.TextIOWrapper) -> Callable[[int], tuple[int, list[str]] | None]:
    def read(n_records: int) -> tuple[int, list[str]] | None:
        lines = list(islice(stream, n_records))
        rows = [line for line in lines if not line.isspace()]
        return (len(rows), rows) if lines else None

    return read


class TextFile:
    """A .txt file: every line that is not blank is a prompt."""

    def __init__(self, path: Path, reading: ReadingConfig) -> None:
        self._path = path
        self._encoding = reading.encoding
        self.notes: list[str] = []
        self.schema = pa.schema([("prompt", pa.string())])
        # A file that cannot be opened is refused now, not in the middle of the night.
        with open_text(path, reading.encoding) as stream:
            first = stream.readline(_HEADER_CHARS).strip()
        words = {part.strip().casefold() for part in first.split(",")}
        if words & {"prompt", "text", "caption"}:
            what = (
                "a CSV with a header; its name should end in .csv then"
                if "," in first
                else ("a header, and is drawn as a prompt like any other line: take it out")
            )
            self.notes.append(f"the first line, {shown(first)}, looks like {what}")

    def raw_rows(self, first_row: int, chunk_rows: int) -> Iterator[RawRows]:
        """Yield the rows from `first_row` on; see `raw.Source`."""
        with open_text(self._path, self._encoding) as stream:
            read = _line_reader(stream)
            for first, pieces in pieced(read, stream, first_row, chunk_rows):
                prompts = string_column(
                    [line.removesuffix("\n") for line in chain.from_iterable(pieces)],
                    lambda i, cell, first=first: undecodable(  # type: ignore[misc]
                        self._path, self._encoding, f"row {first + i}: the line", cell
                    ),
                )
                batch = pa.RecordBatch.from_arrays([prompts], schema=self.schema)
                yield RawRows(first, batch, {})


class JsonLinesFile:
    """A .jsonl or .ndjson file; keys may differ from line to line, so the columns may grow."""

    def __init__(self, path: Path, reading: ReadingConfig) -> None:
        self._path = path
        self._encoding = reading.encoding
        self._names: dict[str, None] = {}
        self.notes: list[str] = []
        with open_text(path, reading.encoding) as stream:
            head = (line for line in stream if not line.isspace())
            for index, line in enumerate(islice(head, HEAD_ROWS)):
                self._learn(index, self._parsed(index, line))
        if not self._names:
            raise TableError(f"{path} has no rows. Write a JSON object with a prompt on each line.")

    @property
    def schema(self) -> pa.Schema:
        """The columns met by now, all text."""
        return pa.schema([(name, pa.string()) for name in self._names])

    def raw_rows(self, first_row: int, chunk_rows: int) -> Iterator[RawRows]:
        """Yield the rows from `first_row` on; see `raw.Source`."""
        with open_text(self._path, self._encoding) as stream:
            read = _line_reader(stream)
            for first, pieces in pieced(read, stream, first_row, chunk_rows):
                yield self._chunk(first, pieces)

    def _chunk(self, first: int, pieces: list[list[str]]) -> RawRows:
        columns: dict[str, list[Any]] = {name: [] for name in self._names}
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
        arrays = [self._column(name, columns[name], first, nested) for name in self._names]
        return RawRows(first, pa.RecordBatch.from_arrays(arrays, schema=self.schema), nested)

    def _column(
        self, name: str, cells: list[Any], first: int, nested: dict[str, int]
    ) -> pa.StringArray:
        types = set(map(type, cells))
        if types & {list, dict}:
            nested[name] = next(i for i, cell in enumerate(cells) if isinstance(cell, (list, dict)))
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
            self._names.setdefault(name)

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
        return TableError(
            f"{self._path}, row {index} {problem}: {shown(line.strip())}. "
            'Write one object a line, such as {"prompt": "a cat"}.'
        )


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
