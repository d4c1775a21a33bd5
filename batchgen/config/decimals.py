"""Numbers as people write them: before a file kept them in fewer bits, and sizes of files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_STEP = 1024
_UNITS = ("KiB", "MiB", "GiB", "TiB")


def as_written(value: float, kind: Callable[[float], Any] = np.float32) -> float:
    """Return the shortest decimal that is a number in a narrow type: 7.1 for 7.099999904632568.

    Args:
        value: A number; one that the narrow type does not hold exactly is returned as it is.
        kind: The narrow type.
    """
    with np.errstate(over="ignore"):
        narrow = kind(value)
    return float(str(narrow)) if float(narrow) == value else value


def size_text(n_bytes: float) -> str:
    """Return a number of bytes in the unit that fits it, such as `1.5 GiB`."""
    if n_bytes < _STEP:
        return f"{n_bytes:.0f} bytes"
    size = float(n_bytes)
    for unit in _UNITS:
        size /= _STEP
        if size < _STEP or unit == _UNITS[-1]:
            break
    return f"{size:,.1f} {unit}"
