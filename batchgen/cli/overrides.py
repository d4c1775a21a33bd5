"""What stands on the command line, argument by argument: a key and a value, or several values.

Without `-m`, a value of a text setting that Hydra's grammar cannot read, or reads as a sweep, a
list or a dict, is the text as it was typed. Any other value means what Hydra says.
"""

from __future__ import annotations

import functools
import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from batchgen.cli import sweeps
from batchgen.config import keys, shell
from batchgen.errors import ConfigError

_OPEN_KEY = "reading.columns"
_ADAPTER_KEY = re.compile(r"adapters\.([^.]+)(?:\.([^.]+))?")
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
    key = typed_key.lstrip("+~")
    as_typed = Given(key, argument, text, is_typed=True)
    is_plain_text = not is_grid and keys.is_text(key)
    is_unknown = _is_unknown(key)
    try:
        override = _parser().parse_override(argument)
    except HydraException as error:
        if is_plain_text and equals:
            return as_typed
        is_misspelt = is_unknown and equals and _is_key(key)
        misspelt = unknown_key(argument, key) if is_misspelt else None
        raise _Unfit(misspelt or _unreadable(argument, key, error)) from error
    if override.is_delete():
        return Given(key, argument, None, is_delete=True)
    value = override.value()
    if is_unknown and (is_grid or sweeps.is_sweep(value)):
        raise _Unfit(unknown_key(argument, key))
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
    return f"{argument} cannot be read: {text!r} is not a value for {key}."


def _is_unknown(key: str) -> bool:
    """Whether there is no such setting, and none can be: names below some keys are free."""
    is_free = key.startswith((*(f"{one}." for one in keys.OPEN), "hydra."))
    return not is_free and keys.hint_of(key) is None


def unknown_key(argument: str, key: str) -> str:
    """Say that there is no such setting, with the one that was meant or those there are."""
    near = keys.nearest_key(key)
    start = f"{argument.lstrip('+')}: there is no setting {key}."
    if near is None:
        return f"{start} There are: {', '.join(keys.neighbours(key))}."
    _, equals, value = argument.partition("=")
    meant = shell.command(f"{near}={value}") if equals else near
    return f"{start} Did you mean {meant}?"


def _is_key(key: str) -> bool:
    try:
        _parser().parse_override(f"{key}=1")
    except HydraException:
        return False
    return True


def line_of(given: Given) -> str:
    """Return a setting as Hydra should read it.

    Columns and adapters are named freely, so their keys may be new; no other key may. What goes
    into a text field stays the text it is, where Hydra would make a number of `1e3`.
    """
    key = given.key
    if key.startswith("hydra."):
        raise ConfigError([f"{given.argument}: settings of Hydra itself have no effect here."])
    if given.is_delete:
        return given.argument
    is_number = isinstance(given.value, (bool, int, float)) and keys.is_text(key)
    value = given.typed
    if given.is_typed or is_number:
        value = shell.quoted(shell.without_interpolation(value))
    if match := _ADAPTER_KEY.fullmatch(key):
        return _adapter_line(match[1], match[2], value, given)
    is_open = key == _OPEN_KEY or key.startswith(f"{_OPEN_KEY}.")
    return f"{'++' if is_open else ''}{key}={value}"


def _adapter_line(name: str, field: str | None, value: str, given: Given) -> str:
    """Return the override of one adapter as one of them all.

    A new name deeper down would be made a plain dict by OmegaConf, and be refused for its type.
    """
    if field is not None:
        is_bare = given.value is not None and value[:1] not in ("'", '"')
        value = f"{{{field}: {shell.quoted(value) if is_bare else value}}}"
    return f"++adapters={{{name}: {value}}}"


def written(key: str, value: Any) -> str:
    """Return the override that gives a key this value; `${key}` in a text stays as it is."""
    if isinstance(value, str):
        is_bare = "${" not in value and shell.plain_text(value) == value
        return f"{key}={value if is_bare else shell.quoted(value)}"
    return f"{key}={_element(value)}"


def _element(value: Any) -> str:
    """Return a value of any kind as Hydra's grammar has it."""
    if isinstance(value, list):
        return f"[{','.join(_element(one) for one in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_element(one)}' for key, one in value.items())}}}"
    if isinstance(value, str):
        return shell.quoted(value)
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return repr(value)
