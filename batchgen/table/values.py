"""Cells to typed settings, a column at a time; a bad cell is named with row, column and value.

Arrow casts valid columns. Python looks at cells only where a chunk's column is not all plain
digits, and then at each distinct one once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchgen.errors import TableError
from batchgen.table.columns import ROWS, SETTINGS, SIZE, override
from batchgen.table.raw import RawRows, shown

# pyarrow's stubs do not know most compute functions' array types: columns are Any in this module.
_compute: Any = pc

_INTEGER = re.compile(r"([+-]?)0*([0-9]+)(?:\.0*)?")
_SIZE_TEXT = re.compile(r"\s*([0-9]+)\s*(?:[x×*,:]|by)\s*([0-9]+)\s*", re.IGNORECASE)
_SIDES = {"width": 1, "height": 2}
"""Setting to its group in `_SIZE_TEXT`."""
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Casting:
    """How a table's columns become settings."""

    columns_used: dict[str, str]
    max_prompt_chars: int
    has_quotes: bool
    """Whether an overlong prompt may be the result of a quote that was not closed."""

    def settings(self, raw: RawRows) -> pa.RecordBatch:
        """Return one column per setting, null where the table says nothing; raises TableError."""
        columns = [self._setting(name, raw) for name in SETTINGS]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(list(SETTINGS.items())))

    def _setting(self, name: str, raw: RawRows) -> Any:
        n_rows = raw.batch.num_rows
        column_name = self.columns_used.get(name)
        if name in _SIDES and SIZE in self.columns_used:
            return self._side(name, raw)
        if column_name is None:
            if name == "row_key":
                indexes = np.arange(raw.first_index, raw.first_index + n_rows)
                return pa.array(indexes).cast(pa.string())
            return pa.array([None] * n_rows, SETTINGS[name])
        if column_name in raw.nested:
            position = raw.nested[column_name]
            value = raw.batch.column(column_name)[position].as_py()
            raise self._bad(raw, name, position, value, "is not one text or number")
        column: Any = raw.batch.column(column_name)
        if name in ("row_key", "prompt"):
            return self._required(name, column, raw)
        if ROWS[name].is_free_text:
            return self._text(name, column, raw)
        numbers = _plain_numbers(name, column)
        return self._by_value(name, column, raw) if numbers is None else numbers

    def _side(self, name: str, raw: RawRows) -> Any:
        """Return the widths or the heights of a column of sizes, such as 832x1216."""
        column = raw.batch.column(self.columns_used[SIZE])
        coded = _without_blanks(self._as_text(SIZE, column, raw)).dictionary_encode()
        values = []
        for code, text in enumerate(coded.dictionary.to_pylist()):
            match = _SIZE_TEXT.fullmatch(text)
            problem = "is not a size such as 832x1216"
            if match:
                value = int(match[_SIDES[name]][:10])
                values.append(value)
                problem = ROWS[name].problem(value) or ""
                problem = f"has a {name} that {problem}" if problem else ""
            if problem:
                position = _compute.index(coded.indices, code).as_py()
                raise self._bad(raw, SIZE, position, text, problem)
        return pa.array(values, SETTINGS[name]).take(coded.indices)

    def _required(self, name: str, column: Any, raw: RawRows) -> Any:
        texts = self._refuse_nul(name, self._as_text(name, column, raw), raw)
        missing = _blank(texts).fill_null(True)
        if _compute.any(missing).as_py():
            position = _compute.index(missing, True).as_py()
            where = f"{raw.where(position)}: column {self.columns_used[name]!r} is empty."
            if name == "prompt":
                raise TableError(f"{where} Write a prompt or take the row out.")
            raise TableError(f"{where} Give every row an id of its own, or take the column out.")
        return texts if name == "row_key" else self._short(name, texts, raw)

    def _text(self, name: str, column: Any, raw: RawRows) -> Any:
        texts = self._refuse_nul(name, self._as_text(name, column, raw), raw)
        return self._short(name, _without_blanks(texts), raw)

    def _refuse_nul(self, name: str, texts: Any, raw: RawRows) -> Any:
        """Return the column, or raise for the first text with a NUL, which no viewer can show."""
        position = _compute.index(_compute.match_substring(texts, "\0"), True).as_py()
        if position < 0:
            return texts
        raise TableError(
            f"{raw.where(position)}: column {self.columns_used[name]!r} "
            f"has {shown(texts[position].as_py())}, which holds a NUL. Take it out; where every "
            "other character is one, the file is UTF-16: set reading.encoding=utf-16-le."
        )

    def _short(self, name: str, texts: Any, raw: RawRows) -> Any:
        """Return the column, or raise for the first text of more than `max_prompt_chars`."""
        # Characters are never more than bytes, and bytes cost nothing to count.
        if (_compute.max(_compute.binary_length(texts)).as_py() or 0) <= self.max_prompt_chars:
            return texts
        is_long = _compute.greater(_compute.utf8_length(texts), self.max_prompt_chars)
        position = _compute.index(is_long, True).as_py()
        if position < 0:
            return texts
        text = texts[position].as_py()
        quote = " Look for a quote that is not closed, or raise" if self.has_quotes else " Raise"
        raise TableError(
            f"{raw.where(position)}: column {self.columns_used[name]!r} "
            f"has {len(text)} characters, beginning {shown(text)}; the most is "
            f"{self.max_prompt_chars}.{quote} reading.max_prompt_chars."
        )

    def _by_value(self, name: str, column: Any, raw: RawRows) -> Any:
        """Cast each distinct text of a column; raise for the first that is not valid."""
        texts = self._as_text(name, column, raw)
        coded = _without_blanks(texts).dictionary_encode()
        values = []
        for code, text in enumerate(coded.dictionary.to_pylist()):
            value = _parsed(name, text.strip())
            if problem := ROWS[name].problem(value):
                position = _compute.index(coded.indices, code).as_py()
                raise self._bad(raw, name, position, text, problem)
            values.append(value)
        return pa.array(values, SETTINGS[name]).take(coded.indices)

    def _as_text(self, name: str, column: Any, raw: RawRows) -> Any:
        if pa.types.is_string(column.type):
            return column
        if pa.types.is_floating(column.type):
            return pa.array([_float_text(value) for value in column.to_pylist()], pa.string())
        try:
            return column.cast(pa.string())
        except pa.ArrowException as error:
            raise TableError(
                f"{raw.where(0)} to {raw.first_row + len(column) - 1}: "
                f"column {self.columns_used[name]!r} of type {column.type} cannot be read as "
                f"text ({error}). Write it as text, or set {override(name, '')} to carry it only."
            ) from error

    def _bad(
        self, raw: RawRows, name: str, position: int, value: object, problem: str
    ) -> TableError:
        cure = "Correct it"
        if name not in ("row_key", "prompt"):
            cure += f", leave it empty for the job's own {name}"
        if name != "prompt":
            cure += f", or set {override(name, '')} to carry the column only"
        return TableError(
            f"{raw.where(position)}: column {self.columns_used[name]!r} "
            f"has {shown(value)}, which {problem}. {cure}."
        )


def _blank(texts: Any) -> Any:
    """Return which texts are empty or only whitespace; null for null."""
    is_empty = _compute.equal(_compute.binary_length(texts), 0)
    return _compute.or_(is_empty, _compute.utf8_is_space(texts))


def _without_blanks(texts: Any) -> Any:
    """Return texts with null in the place of blank ones.

    Not by `if_else`: given a null and a slice of an array, pyarrow 21 copies the wrong bytes.
    """
    return _compute.replace_with_mask(texts, _blank(texts), pa.scalar(None, pa.string()))


def _plain_numbers(name: str, column: Any) -> Any | None:
    """Return a column of valid numbers as its setting's type, or None where cells need a look."""
    kind = column.type
    if pa.types.is_string(kind) and SETTINGS[name] == pa.int64():
        # Arrow reads 0x1F as a number; we do not.
        is_plain = _compute.all(_compute.utf8_is_decimal(column)).as_py()
    else:
        is_plain = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if not is_plain:
        return None
    try:
        numbers = column.cast(SETTINGS[name])
    except pa.ArrowException:
        return None
    # Seeds may all differ, and all between the least and the greatest are good.
    if name == "seed":
        looked_at = _compute.min_max(numbers).as_py().values()
    else:
        looked_at = numbers.unique().to_pylist()
    has_problem = any(ROWS[name].problem(value) for value in looked_at if value is not None)
    return None if has_problem else numbers


def _parsed(name: str, text: str) -> int | float | str:
    """Return the number that a text is, or the text itself where it is none."""
    if SETTINGS[name] == pa.int64() and (match := _INTEGER.fullmatch(text)):
        # Python refuses to convert thousands of digits; thirty are too many for any setting.
        return int(match[1] + match[2][:30])
    if SETTINGS[name] == pa.float64() and _DECIMAL.fullmatch(text):
        return float(text)
    spelling = ROWS[name].spelling
    return text if spelling is None else spelling(text)


def _float_text(value: float | None) -> str | None:
    if value is None:
        return None
    number = float(value)
    is_whole = number.is_integer() and abs(number) < 2**63
    return f"{number:.1f}" if is_whole else repr(number)
