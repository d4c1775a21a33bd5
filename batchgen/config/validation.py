"""Ranges of numbers and the wording of problems, shared by all configs."""

from __future__ import annotations

import math
from collections.abc import Iterator


def number_problem(
    value: object, low: float, high: float, *, whole: bool = False, multiple_of: int = 1
) -> str | None:
    """Say what is wrong with a number that must lie in [low, high], or None."""
    kind = "a whole number" if whole else "a number"
    allowed = (int,) if whole else (int, float)
    if isinstance(value, float) and not math.isfinite(value):
        return f"is not finite: give {kind}"
    if isinstance(value, bool) or not isinstance(value, allowed):
        return f"is not {kind}"
    if not low <= value <= high:
        return f"is not {kind} from {_short(low)} to {_short(high)}"
    if multiple_of > 1 and value % multiple_of:
        return f"is not a multiple of {multiple_of}"
    return None


def _short(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def prefixed(prefix: str, values: dict[str, str | None], owner: object) -> Iterator[str]:
    """Yield a sentence for each field of `owner` that has a problem."""
    for name, problem in values.items():
        if problem:
            yield f"{prefix}{name}={getattr(owner, name)!r} {problem}."
