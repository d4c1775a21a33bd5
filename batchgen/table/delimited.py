"""CSV and TSV: fields between delimiters, quoted or not, a header first.

Parsed by the standard library's `csv` in strict mode: its errors are exact, and it takes 5 s
for 10 M rows. pyarrow's parser swallows the rest of a file after an open quote, silently.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from batchgen.config import shell
from batchgen.config.counts import counted
from batchgen.config.reading import ReadingConfig
from batchgen.errors import TableError
from batchgen.table.columns import gives_prompt
from batchgen.table.raw import SHOWN_CHARS, RawRows, shown
from batchgen.table.text import is_text, open_text, pieced, string_column, undecodable

FIELD_LIMIT = 2**24
"""Characters of one cell. Bounds what an open quote can swallow; above any `max_prompt_chars`."""

REMEMBERED_LINES = 64
"""Lines of a malformed record in which its open quote is looked for."""

_SPELT_DELIMITERS = {"\\t": "\t", "tab": "\t"}
_SPELT = {"\t": "tab"}
_DELIMITER_NAMES = {",": "','", ";": "';'", "\t": "tab", "|": "'|'"}

_PHRASE_WORDS = 3
"""Words from which on a cell of a first line is a prompt rather than a name."""

_NUMBER = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]+)?\s*")

_EXCEL_LINE, _EXCEL_LINE_CHARS = re.compile(r'"?sep=(.)"?', re.IGNORECASE), 16
"""The first line by which Excel knows the delimiter."""

Columns = tuple[tuple[str, ...], ...]


class DelimitedFile:
    """A .csv or .tsv file, plain or gzipped."""

    def __init__(self, path: Path, reading: ReadingConfig, *, is_tsv: bool) -> None:
        self._path = path
        self._encoding = reading.encoding
        self._format = _csv_format(path, reading, is_tsv=is_tsv)
        self._n_skipped = self._read_excel_line(reading)
        self.has_quotes = self._format["quotechar"] is not None
        self.pictures = frozenset[str]()
        # The limit is the whole process's: raised, never lowered, so that no other reader fails.
        csv.field_size_limit(max(csv.field_size_limit(), FIELD_LIMIT))
        self.notes: list[str] = []
        header = self._header()
        if not gives_prompt(header, reading.columns):
            self._refuse_row(header)
        self._names = self._named(header)
        self.schema = pa.schema([(name, pa.string()) for name in self._names])

    def choose(self, used: Collection[str], carried: Collection[str]) -> None:
        """Take note of nothing: every line is read whole; see `raw.Source`."""

    def settle(self) -> None:
        """Take note of nothing: the types were known before; see `raw.Source`."""

    def place(self, row_index: int) -> str:
        """Return where a row is; see `raw.Source`."""
        return f"{self._path}, row {row_index}"

    def raw_rows(self, first_row: int, chunk_rows: int) -> Iterator[RawRows]:
        """Yield the rows from `first_row` on; see `raw.Source`."""
        with open_text(self._path, self._encoding, newline="") as stream:
            rows = self._rows(stream)
            next(row for row in rows if row)
            read = self._piece_reader(rows)
            for first, pieces in pieced(read, stream, first_row, chunk_rows):
                arrays = [
                    string_column(
                        list(chain.from_iterable(piece[k] for piece in pieces)),
                        lambda i, cell, first=first, name=name: undecodable(  # type: ignore[misc]
                            self._path, self._encoding, f"row {first + i}: column {name!r}", cell
                        ),
                    )
                    for k, name in enumerate(self._names)
                ]
                batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
                yield RawRows(self._path, first, batch, {})

    def _read_excel_line(self, reading: ReadingConfig) -> int:
        """Take the delimiter of a first line such as `sep=;`; return how many lines it takes."""
        with open_text(self._path, self._encoding, newline="") as stream:
            found = _EXCEL_LINE.fullmatch(stream.readline(_EXCEL_LINE_CHARS).rstrip("\r\n"))
        if found and not reading.delimiter:
            self._format["delimiter"] = found[1]
        return 1 if found else 0

    def _rows(self, lines: io.TextIOWrapper | Iterator[str]) -> Any:
        return csv.reader(islice(lines, self._n_skipped, None), strict=True, **self._format)

    def _piece_reader(
        self, rows: Iterator[list[str]]
    ) -> Callable[[int], tuple[int, Columns] | None]:
        widths = {len(self._names)}

        def read(n_records: int) -> tuple[int, Columns] | None:
            try:
                piece = list(islice(rows, n_records))
            except csv.Error as error:
                raise self._culprit() from error
            if not piece:
                return None
            if set(map(len, piece)) != widths:
                piece = [row for row in piece if not _is_blank(row, len(self._names))]
                if not set(map(len, piece)) <= widths:
                    raise self._culprit()
            columns = tuple(zip(*piece, strict=True)) if piece else ((),) * len(self._names)
            return len(piece), columns

        return read

    def _header(self) -> list[str]:
        with open_text(self._path, self._encoding, newline="") as stream:
            try:
                header = next((row for row in self._rows(stream) if row), None)
            except csv.Error as error:
                raise self._culprit() from error
        if header is None:
            raise TableError(f"{self._path} is empty. Write a header, then a row for each prompt.")
        for name in header:
            if not is_text(name):
                raise undecodable(self._path, self._encoding, "header", name)
        self._check_delimiter(header)
        return list(header)

    def _check_delimiter(self, header: list[str]) -> None:
        used = self._format["delimiter"]
        other = next((d for d in _DELIMITER_NAMES if d != used and d in header[0]), None)
        if len(header) == 1 and other:
            name = shell.override("reading.delimiter", _SPELT.get(other, other))
            raise TableError(
                f"{self._path} has one column, {shown(header[0])}, when split at "
                f"{_DELIMITER_NAMES.get(used, repr(used))}. Set {name}."
            )

    def _refuse_row(self, header: list[str]) -> None:
        """Raise `TableError` where the first line looks like a row: it has a number or a phrase."""
        words = [len(cell.split()) for cell in header]
        if max(words) < _PHRASE_WORDS and not any(map(_NUMBER.fullmatch, header)):
            return
        names = [f"column_{number}" for number in range(1, len(header) + 1)]
        names[words.index(max(words))] = "prompt"
        line = self._format["delimiter"].join(names)
        cure = f"Write one in front: {line}"
        if self._path.suffix.lower() in (".csv", ".tsv") and not self._n_skipped:
            cure = f"Write one: {shell.command('sed', '-i', f'1i {line}', self._path)}"
        raise TableError(
            f"{self._path} has no header: its first line begins {shown(header[0])}, which is no "
            f"name of a column. {cure}"
        )

    def _named(self, header: list[str]) -> list[str]:
        """Return the header with names for columns that have none, as pandas' index column."""
        names = [name if name.strip() else f"unnamed_{i}" for i, name in enumerate(header)]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise TableError(
                f"{self._path} has more than one column {shown(twice[0])}. Rename all but one."
            )
        for name, given in zip(names, header, strict=True):
            if name != given:
                self.notes.append(f"a column without a name is carried as {name!r}")
        return names

    def _culprit(self) -> TableError:
        """Read the file again, row by row, and return the error that names its first bad row."""
        index, line, n_fields, recent = -1, self._n_skipped, 0, list[str]()
        with open_text(self._path, self._encoding, newline="") as stream:
            rows = self._rows(_remembered(stream, recent))
            try:
                for row in rows:
                    if not n_fields:
                        n_fields = len(row)
                    elif not _is_blank(row, n_fields):
                        index += 1
                        if len(row) != n_fields:
                            return self._ragged(f"row {index} (line {line + 1})", row, n_fields)
                    line = self._n_skipped + rows.line_num
                    recent.clear()
            except csv.Error as error:
                where = f"row {index + 1}" if n_fields else "header"
                return self._malformed(f"{where} (line {line + 1})", "".join(recent), str(error))
        return TableError(f"{self._path} could not be read, and then it could. Try again.")

    def _ragged(self, where: str, row: list[str], n_fields: int) -> TableError:
        text = self._format["delimiter"].join(row)
        return TableError(
            f"{self._path}, {where} has {counted(len(row), 'field')} where the header has "
            f"{n_fields}; it begins {shown(text)}. Quote a cell that contains "
            "the delimiter or a line break."
        )

    def _malformed(self, where: str, text: str, problem: str) -> TableError:
        if not is_text(text):
            # Python 3.10 stops at the NUL bytes of UTF-16, before anyone could look at the text.
            return undecodable(self._path, self._encoding, where, text)
        quote = self._format["quotechar"]
        if quote and ("unexpected end" in problem or "field limit" in problem):
            opened = _open_field(text, quote, self._format["delimiter"])
            return TableError(
                f"{self._path}, {where}: a quote is opened and not closed: "
                f"{shown(opened[: SHOWN_CHARS + 1])}. Close it, double a quote that belongs to "
                "the text, or set reading.quote=none if quotes are literal."
            )
        cure = (
            "Double a quote that belongs to a quoted text, or set reading.quote=none if quotes "
            "are literal."
            if "expected after" in problem
            else "Correct the row."
        )
        return TableError(f"{self._path}, {where}: {problem}, in {shown(text)}. {cure}")


def _is_blank(row: list[str], n_fields: int) -> bool:
    """Tell a line without a cell from a row; an empty cell in a table of one column is a row."""
    return not row or (len(row) == 1 < n_fields and not row[0].strip())


def _csv_format(path: Path, reading: ReadingConfig, *, is_tsv: bool) -> dict[str, Any]:
    given = reading.delimiter
    delimiter = _SPELT_DELIMITERS.get(given, given) if given else "\t" if is_tsv else ","
    quote = reading.quote or ("none" if is_tsv else '"')
    chosen: dict[str, Any] = {"delimiter": delimiter, "quotechar": quote}
    if quote == "none":
        chosen = {"delimiter": delimiter, "quoting": csv.QUOTE_NONE, "quotechar": None}
    try:
        csv.reader((), **chosen)
        is_usable = delimiter != quote and not {delimiter, quote} & {"\r", "\n", " "}
    except (TypeError, ValueError, csv.Error):
        is_usable = False
    if not is_usable:
        raise TableError(
            f"{path} cannot be split with reading.delimiter={delimiter!r} and "
            f"reading.quote={quote!r}: give two different single characters."
        )
    return chosen


def _remembered(lines: Iterator[str], recent: list[str]) -> Iterator[str]:
    """Pass lines on, and keep the beginning of what came since `recent` was last cleared."""
    for line in lines:
        if len(recent) < REMEMBERED_LINES:
            recent.append(line[:4096])
        yield line


def _open_field(record: str, quote: str, delimiter: str) -> str:
    """Return the field of a record whose quote is not closed, from its quote on."""
    start = 0
    while start < len(record):
        end = start
        if record.startswith(quote, start):
            end = record.find(quote, start + 1)
            while end >= 0 and record.startswith(quote, end + 1):
                end = record.find(quote, end + 2)
            if end < 0:
                return record[start:]
        cut = record.find(delimiter, end)
        if cut < 0:
            break
        start = cut + 1
    return record
