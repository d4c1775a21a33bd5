"""The values of a grid's keys, from Hydra's functions; none is left to Hydra's own arithmetic.

`range` is computed here, in decimals: Hydra sorts ranges wrongly (hydra#3228) and adds up binary
fractions, so that 0.1, 0.2, 0.30000000000000004, 0.4 come out of `range(0.1,0.4,0.1)`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, QuotedString, Sweep

from batchgen.config.nearest import nearest

MOST_POINTS = 100_000


class BadSweep(ValueError):
    """A sweep without a meaning here; the message is the end of a sentence."""


def parser() -> OverridesParser:
    """Return Hydra's parser, with ranges of our own."""
    functions = create_functions()
    functions.functions |= {"range": _range, "interval": _interval, "choice": _choice}
    return OverridesParser(functions)


def _range(start: float, stop: float | None = None, step: float = 1) -> ChoiceSweep:
    """Return all values of a range, as they were written: whole numbers, or decimals."""
    start, stop = (0, start) if stop is None else (start, stop)
    numbers = (start, stop, step)
    if any(isinstance(number, bool) or not math.isfinite(number) for number in numbers):
        raise BadSweep("takes finite numbers")
    if step == 0:
        raise BadSweep("has a step of 0: give one above or below 0")
    at, end, by = (Decimal(repr(number)) for number in numbers)
    n_values = max(0, math.ceil((end - at) / by))
    if n_values == 0:
        raise BadSweep(f"holds no value: from {start} to below {stop} in steps of {step}")
    if n_values > MOST_POINTS:
        raise BadSweep(f"holds {n_values:,} values, and {MOST_POINTS:,} are the most")
    is_whole = all(isinstance(number, int) for number in numbers)
    values = [at + n * by for n in range(n_values)]
    return ChoiceSweep(list=[int(value) if is_whole else float(value) for value in values])


def _interval(start: float, end: float) -> IntervalSweep:
    raise BadSweep(
        f"is every number between two: say which, range({start},{end},STEP) or a list of them"
    )


def _choice(*values: Any) -> ChoiceSweep:
    if not values:
        raise BadSweep("holds no value: name them, choice(a,b)")
    if len(values) == 1 and isinstance(values[0], ChoiceSweep):
        return ChoiceSweep(list=values[0].list, shuffle=values[0].shuffle)
    return ChoiceSweep(list=list(values))


def is_sweep(value: Any) -> bool:
    """Whether what a parser returned stands for several values."""
    return isinstance(value, (Sweep, Glob))


def values_of(value: Any, names: Sequence[str] | None) -> list[Any]:
    """Return the values that a sweep stands for, in order, texts without their quotes.

    Args:
        value: What the parser returned.
        names: Those of the group that the key chooses from; None for a key that is not a group.

    Raises:
        BadSweep: For one that has no meaning here.
    """
    if isinstance(value, Glob):
        found = _globbed(value, names)
    elif isinstance(value, ChoiceSweep):
        found = [_plain(one) for one in value.list]
        if value.shuffle:
            random.shuffle(found)
    else:  # a list or a dict with a sweep inside
        found = [_plain(value)]
    if not found:
        raise BadSweep("holds no value")
    return found


def _globbed(glob: Glob, names: Sequence[str] | None) -> list[Any]:
    if names is None:
        raise BadSweep(
            "chooses among the names of a group, as in model=glob(*); "
            "here, write the values: a,b or choice(a,b)"
        )
    found: list[Any] = glob.filter(list(names))
    if not found:
        near = nearest(str(glob.include[0]), names)
        raise BadSweep(
            f"finds none of {', '.join(names)}" + (f"; the nearest is {near}" if near else "")
        )
    return found


def _plain(value: Any) -> Any:
    if is_sweep(value):
        raise BadSweep("holds a sweep inside another: write all values in one list, a,b,c")
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    return value.text if isinstance(value, QuotedString) else value


def has_sweep_inside(value: Any) -> bool:
    """Whether a single value holds a sweep somewhere inside, as `[range(3)]` does."""
    if isinstance(value, list):
        return any(is_sweep(one) or has_sweep_inside(one) for one in value)
    return isinstance(value, dict) and has_sweep_inside(list(value.values()))
