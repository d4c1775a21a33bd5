"""Configs from nested plain values, each value checked against the type of its field.

The only user of cattrs. Strict: text is not accepted as a number nor a number as text; a
whole number is accepted as a float, numpy's scalars as Python's, and a path as text.
"""

from __future__ import annotations

import dataclasses
import functools
import numbers
import os
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar, get_origin

from batchgen.config.nearest import did_you_mean
from batchgen.errors import ConfigError

_Config = TypeVar("_Config")
_SHOWN_CHARS = 80


class _Misfit(ValueError):
    """A value that is not of the type of its field."""

    def __init__(self, value: object, reason: str) -> None:
        super().__init__(f"{_shown(value)} {reason}")


def structured(
    kind: type[_Config], values: Mapping[str, Any] | _Config, prefix: str = ""
) -> _Config:
    """Return a config of a class from values by field name; what is not named is the default.

    Args:
        kind: A dataclass, whose fields may be dataclasses.
        values: Plain values, nested mappings or configs, or a config of the class; enums by name
            or by value.
        prefix: What the keys are called by in messages, such as `model.`.

    Raises:
        ConfigError: With a sentence for each key that does not exist and each value that does not
            fit.
    """
    from cattrs import BaseValidationError

    try:
        config: _Config = _converter().structure(values, kind)
    except BaseValidationError as error:
        raise ConfigError(list(_problems(error, prefix.rstrip(".")))) from error
    except _Misfit as error:
        raise ConfigError([f"{prefix.rstrip('.')}={error}."]) from error
    return config


@functools.cache
def _converter() -> Any:
    """Return the converter; made at the first use, as cattrs is slow to import."""
    import cattrs

    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(bool, _truth)
    converter.register_structure_hook(int, _whole)
    converter.register_structure_hook(float, _real)
    converter.register_structure_hook_factory(dataclasses.is_dataclass, _dataclass_hook)
    converter.register_structure_hook_factory(lambda kind: _origin(kind) is list, _list_hook)
    converter.register_structure_hook_factory(lambda kind: _origin(kind) is dict, _dict_hook)
    return converter


def _origin(kind: Any) -> Any:
    return get_origin(kind)


def _shown(value: object) -> str:
    """Return a value as one short line."""
    text = repr(value) if isinstance(value, str) else " ".join(repr(value).split())
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


def _scalar(value: Any) -> Any:
    """Return numpy's scalars and arrays of no dimension as Python's values, floats as numpy's."""
    if not hasattr(value, "dtype") or getattr(value, "ndim", None) != 0:
        return value
    return value[()] if value.dtype.kind == "f" else value.item()


def _text(value: object, kind: type[str]) -> str:
    value = _scalar(value)
    if issubclass(kind, Enum):  # cattrs looks for the hook of a base class first
        word: str = _word(value, kind)
        return word
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or isinstance(value, Enum):
        raise _Misfit(value, "is not text")
    return str(value)


def _truth(value: object, _: Any) -> bool:
    value = _scalar(value)
    if not isinstance(value, bool):
        raise _Misfit(value, "is not true or false")
    return value


def _whole(value: object, _: Any) -> int:
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise _Misfit(value, "is not a whole number")
    return int(value)


def _real(value: object, _: Any) -> float:
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _Misfit(value, "is not a number")
    if hasattr(value, "dtype"):  # a number of numpy's, which is loaded then
        from batchgen.config.decimals import as_written

        return as_written(float(value), type(value))
    return float(value)


def _word(value: object, kind: Any) -> Any:
    """Return a member by itself, by its name, or by its value, as job.json has it."""
    for member in kind:
        if value is member or (isinstance(value, str) and value in (member.name, member.value)):
            return member
    raise _Misfit(value, f"is not one of {', '.join(kind.__members__)}")


def _dataclass_hook(kind: Any) -> Callable[[Any, Any], Any]:
    from cattrs.gen import make_dict_structure_fn

    fill = make_dict_structure_fn(kind, _converter(), _cattrs_forbid_extra_keys=True)

    def hook(value: Any, _: Any) -> Any:
        if isinstance(value, kind):
            if type(value) is not kind:
                return _converter().structure(value, type(value))
            value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if not isinstance(value, Mapping):
            raise _Misfit(value, f"is not a {kind.__name__}")
        return fill(value, kind)

    return hook


def _list_hook(kind: Any) -> Callable[[Any, Any], Any]:
    from cattrs.cols import list_structure_factory

    return _of_kind(list_structure_factory(kind, _converter()), (list, tuple, range), "a list")


def _dict_hook(kind: Any) -> Callable[[Any, Any], Any]:
    from cattrs.cols import mapping_structure_factory

    return _of_kind(mapping_structure_factory(kind, _converter()), (Mapping,), "a dict")


def _of_kind(
    fill: Callable[[Any, Any], Any], kinds: tuple[type, ...], name: str
) -> Callable[[Any, Any], Any]:
    """Return a hook that takes these types only: a text is no list of its letters."""

    def hook(value: Any, kind: Any) -> Any:
        value = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(value, kinds):
            raise _Misfit(value, f"is not {name}")
        return fill(value, kind)

    return hook


def _problems(error: BaseException, key: str) -> Iterator[str]:
    """Yield a sentence for each fault that cattrs found; `key` is what the value is called by."""
    from cattrs import BaseValidationError, ForbiddenExtraKeysError

    if isinstance(error, ForbiddenExtraKeysError):
        known = ", ".join(field.name for field in dataclasses.fields(error.cl))
        for name in sorted(map(str, error.extra_fields)):
            near = did_you_mean(name, (field.name for field in dataclasses.fields(error.cl)))
            yield f"{_joined(key, name)} is no setting; there are: {known}.{near}"
    elif isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from _problems(inner, _joined(key, *_place(inner)))
    elif isinstance(error, _Misfit):
        yield f"{key}={error}."
    elif isinstance(error, KeyError):
        yield f"{key} is missing."
    else:
        raise error


def _place(error: BaseException) -> Iterator[str]:
    """Yield the name or the index that cattrs noted as the place of an error."""
    for note in getattr(error, "__notes__", ()):
        place = getattr(note, "name", getattr(note, "index", None))
        if place is not None:
            yield str(place)


def _joined(*names: str) -> str:
    return ".".join(name for name in names if name)
