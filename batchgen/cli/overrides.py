"""What stands on the command line, argument by argument: a key and a value, or several values.

Without `-m`, a value of a text setting that Hydra's grammar cannot read, or reads as a sweep, a
list or a dict, is the text as it was typed. Any other value means what Hydra says.
"""

from __future__ import annotations

import functools
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from batchgen.cli import sweeps
from batchgen.config import keys, shell
from batchgen.errors import ConfigError

_WITHOUT_VALUE = "give key=value, such as table=prompts.csv"


@dataclass(frozen=True, slots=True)
class Given:
    """One setting of a command line."""

    key: str
    """Without plus signs in front."""
    argument: str
    """As it was typed."""
    value: Any
    """What it means; for a sweep nothing."""
    choices: tuple[Any, ...] = ()
    """The values of a sweep."""
    is_typed: bool = False
    """Whether the value is the text as it was typed."""
    is_delete: bool = False

    @property
    def is_sweep(self) -> bool:
        """Whether it makes a grid."""
        return bool(self.choices)

    @property
    def typed(self) -> str:
        """The value as it was typed."""
        return self.argument.partition("=")[2]


class _Unfit(Exception):
    """An argument that cannot be used; the message is the sentence."""


def parse(
    arguments: Sequence[str],
    *,
    is_grid: bool = False,
    names: Callable[[str], Sequence[str] | None] = lambda key: None,  # noqa: ARG005
) -> list[Given]:
    """Return the settings of a command line.

    Args:
        arguments: Those after the command.
        is_grid: Whether several values are a grid; else they are one text, or refused.
        names: Returns the names that a key of a group may have, None for other keys.

    Raises:
        ConfigError: With a sentence for each argument that cannot be used.
    """
    found: dict[str, Given] = {}
    problems = []
    for argument in arguments:
        try:
            given = _given(argument, is_grid, names)
        except _Unfit as error:
            problems.append(str(error))
            continue
        if given.key in found:
            both = f"{shlex.quote(found[given.key].argument)} and {shlex.quote(argument)}"
            problems.append(f"{given.key} is given twice, {both}: leave one out.")
        found[given.key] = given
    n_points = math.prod(len(given.choices) for given in found.values() if given.is_sweep)
    if n_points > sweeps.MOST_POINTS:
        problems.append(f"The grid has {n_points:,} points, and {sweeps.MOST_POINTS:,} at most.")
    if problems:
        raise ConfigError(problems)
    return list(found.values())


@functools.cache
def _parser() -> OverridesParser:
    return sweeps.parser()


def _given(argument: str, is_grid: bool, names: Callable[[str], Sequence[str] | None]) -> Given:
    typed_key, equals, text = argument.partition("=")
    key = typed_key.lstrip("+")
    as_typed = Given(key, argument, text, is_typed=True)
    is_plain_text = not is_grid and keys.is_text(key)
    try:
        override = _parser().parse_override(argument)
    except HydraException as error:
        if is_plain_text and equals:
            return as_typed
        raise _Unfit(_unreadable(argument, key, error)) from error
    if override.is_delete():
        return Given(key, argument, None, is_delete=True)
    value = override.value()
    if sweeps.is_sweep(value) or sweeps.has_sweep_inside(value):
        return as_typed if is_plain_text else _swept(key, argument, value, is_grid, names(key))
    if isinstance(value, (list, dict)) and is_plain_text:
        return as_typed
    if isinstance(value, float) and not math.isfinite(value) and not keys.is_text(key):
        raise _Unfit(f"{argument} is not a finite number: give one that is.")
    return Given(key, argument, value)


def _swept(
    key: str, argument: str, value: Any, is_grid: bool, names: Sequence[str] | None
) -> Given:
    try:
        choices = sweeps.values_of(value, names)
    except sweeps.BadSweep as error:
        raise _Unfit(f"{argument}: this sweep {error}.") from error
    for choice in choices:
        if isinstance(choice, float) and not math.isfinite(choice) and not keys.is_text(key):
            raise _Unfit(f"{argument} holds {choice}, which is not a finite number.")
    if not is_grid:
        raise _Unfit(_grid_advice(key, argument, choices))
    return Given(key, argument, None, tuple(choices))


def _grid_advice(key: str, argument: str, choices: list[Any]) -> str:
    many = f"{argument} is a grid of {len(choices):,} jobs" if len(choices) > 1 else argument
    if keys.is_list(key) and all(isinstance(choice, int) for choice in choices):
        values = ",".join(str(choice) for choice in choices[:20]) + ",..." * (len(choices) > 20)
        one = shlex.quote(f"{key}=[{values}]")
        return f"{many}. For one job with all of them write {one}; for a job each, add -m."
    return f"{many}: add -m, or give one value."


def _unreadable(argument: str, key: str, error: HydraException) -> str:
    """Say why an argument cannot be read, with a cure that works."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sweeps.BadSweep):
        cause = cause.__cause__
    if cause is not None:
        return f"{argument}: this sweep {cause}."
    text = argument.partition("=")[2]
    if "=" not in argument or not _is_key(key):
        return f"{argument} is not an override: {_WITHOUT_VALUE}."
    inner = error.__cause__
    is_syntax = inner is None or type(inner).__module__.startswith("antlr4")
    if not is_syntax and not str(inner).startswith("Unknown function"):
        reason = " ".join(str(inner).split())
        return f"{argument}: this sweep cannot be read: {reason}."
    if keys.is_text(key):
        return (
            f"{argument} holds characters that mean something else in a grid. "
            f"Write: {shell.override(key, text)}"
        )
    return f"{argument} cannot be read: {text!r} is no value for {key}."


def _is_key(key: str) -> bool:
    try:
        _parser().parse_override(f"{key}=1")
    except HydraException:
        return False
    return True
