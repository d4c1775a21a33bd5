"""Numbers as people wrote them, before a file kept them in fewer bits."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_written(value: float, kind: type[np.floating[Any]] = np.float32) -> float:
    """Return the shortest decimal that is a number in a narrow type: 7.1 for 7.099999904632568.

    Args:
        value: A number; one that the narrow type does not hold exactly is returned as it is.
        kind: The narrow type.
    """
    with np.errstate(over="ignore"):
        narrow = kind(value)
    return float(str(narrow)) if float(narrow) == value else value
