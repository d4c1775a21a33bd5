"""What a setting may be: types, ranges and names, for a job and for a row alike."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Iterator
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints


def number_problem(
    value: object, low: float, high: float, *, whole: bool = False, multiple_of: int = 1
) -> str | None:
    """Say what is wrong with a number that must lie in [low, high], or None."""
    kind = "a whole number" if whole else "a number"
    allowed = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed) or not math.isfinite(value):
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


def type_problems(config: object, prefix: str = "") -> Iterator[str]:
    """Yield a sentence for each field, nested ones too, whose value is of another type.

    A whole number passes for a float; a range or a tuple for a list.
    """
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value, hint = getattr(config, field.name), hints[field.name]
        if not _fits(value, hint):
            yield f"{prefix}{field.name}={value!r} is not {_named(hint)}."
        elif dataclasses.is_dataclass(value):
            yield from type_problems(value, f"{prefix}{field.name}.")


def _fits(value: object, hint: Any) -> bool:
    if hint is Any:
        return True
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is list:
        is_list = isinstance(value, (list, tuple, range))
        items: Any = value
        return is_list and all(_fits(item, arguments[0]) for item in items)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(item, argument)
            for pair in value.items()
            for item, argument in zip(pair, arguments, strict=True)
        )
    if isinstance(value, bool) and hint is not bool:
        return False
    return isinstance(value, (int, float) if hint is float else hint)


def _named(hint: Any) -> str:
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_named(h) for h in get_args(hint) if h is not type(None))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(hint.__members__)}"
    return words.get(hint, f"a {getattr(hint, '__name__', hint)}")
