"""The values of a grid's points: as a label shows them, as a column of Parquet, and compared."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from batchgen.config import keys

_DIGITS = 12


def shown(value: Any) -> str:
    """Return a value as a label has it: text as it is, all else as on a command line."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


def column(values: Sequence[Any]) -> pa.Array[Any]:
    """Return values as a column of one type; of mixed types, or nested, they are text."""
    kinds = {type(value) for value in values if value is not None}
    is_small = all(abs(value) < 2**63 for value in values if isinstance(value, int))
    if kinds == {int} and is_small:
        return pa.array(values, pa.int64())
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds in ({float}, {int, float}):
        return pa.array([None if one is None else float(one) for one in values], pa.float64())
    return pa.array([None if one is None else shown(one) for one in values], pa.string())


def retyped(key: str, value: Any) -> Any:
    """Return a value that 0.1.0 wrote as text, with its type; a text without Hydra's escapes."""
    if not isinstance(value, str):
        return value
    if keys.is_text(key):
        in_quotes = re.fullmatch(r"(['\"])(.*)\1", value, re.DOTALL)
        if in_quotes:
            return in_quotes[2].replace(f"\\{in_quotes[1]}", in_quotes[1])
        return re.sub(r"\\([\\()\[\]{}:=, \t])", r"\1", value)
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if isinstance(found, (bool, int, float)) else value


def rounded(settings: str) -> str:
    """Return settings, JSON, with numbers as they were meant: 0.3 for 0.30000000000000004."""
    meant = json.loads(settings, parse_float=lambda text: float(f"{float(text):.{_DIGITS}g}"))
    return json.dumps(meant, sort_keys=True)
