"""What the ledger records, one event at a time: the kinds of events and their form on disk.

On disk an event is a JSON object: the name of its kind under `type`, then its fields under their
own names, in their order; a field with a default is left out where it has that value. Kinds, names
and order stand in the folders of every version, so they stay as they are.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any

import pyarrow as pa

from batchgen.ledger.records import Key, Record, key_of


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of the rows that follow; the first event of a journal."""

    schema: pa.Schema
    table: str = ""
    """`Table.origin` of the table whose own columns the rows have; empty where it is not known."""


@dataclass(frozen=True, slots=True)
class Start:
    """A worker begins to make these images, in one batch."""

    keys: tuple[Key, ...]
    worker: int = 0
    """From 0; where there is one worker it is not recorded."""


@dataclass(frozen=True, slots=True)
class Done:
    """Images are part of the dataset, each with its row of metadata.parquet."""

    rows: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Void:
    """Images that were committed before this are withdrawn."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Fail:
    """An image could not be made; `failure` is its row of failures.parquet."""

    failure: Record


@dataclass(frozen=True, slots=True)
class Suspect:
    """A start ended while it made these images together."""

    keys: tuple[Key, ...]
    run_id: str
    """The start that ended."""
    reason: str


@dataclass(frozen=True, slots=True)
class Rung:
    """A rung of the memory ladder worked for a size, such as 1024x768."""

    size: str
    rung: str


@dataclass(frozen=True, slots=True)
class Clear:
    """Images were made, so they are no longer failures or suspects.

    Stands in the notes of a part, where no `Done` is.
    """

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Reset:
    """All failures and suspects are forgotten."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Images whose files are gone, or whose row left the table, are not to be made again."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Undrop:
    """All images that were dropped may be made again."""


Event = Schema | Start | Done | Void | Fail | Suspect | Rung | Clear | Reset | Drop | Undrop

_KINDS: dict[str, type[Event]] = {
    "schema": Schema,
    "start": Start,
    "done": Done,
    "void": Void,
    "fail": Fail,
    "suspect": Suspect,
    "rung": Rung,
    "clear": Clear,
    "forgive": Reset,
    "drop": Drop,
    "undrop": Undrop,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class MisshapenEvent(ValueError):
    """An event of a kind we know that lacks a field, or has a value of another type in it."""


class UnknownEvent(ValueError):
    """An event of a kind that this version does not know."""


def as_json(event: Event) -> dict[str, Any]:
    """Return the JSON object of an event."""
    content: dict[str, Any] = {"type": _NAMES[type(event)]}
    for field in fields(event):
        value = getattr(event, field.name)
        if value != field.default:
            content[field.name] = _schema_text(value) if field.name == "schema" else value
    return content


def parse(content: dict[str, Any]) -> Event:
    """Return the event of a JSON object; keys that its kind does not have are ignored.

    Raises:
        UnknownEvent: A newer version wrote it, or something else than batchgen.
        MisshapenEvent: A field is missing or of another type.
    """
    name = content.get("type")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise UnknownEvent(f"an event of type {name!r}")
    try:
        values = {
            field.name: _READ[field.name](content[field.name])
            for field in fields(kind)
            if field.name in content or field.default is MISSING
        }
    except (KeyError, TypeError, ValueError, OSError) as error:
        what = f"{type(error).__name__}: {error}"
        raise MisshapenEvent(f"an event of type {name!r} of another shape ({what})") from error
    return kind(**values)


def read_keys(value: Any) -> tuple[Key, ...]:
    """Return keys of images from their JSON form, a list of pairs."""
    return tuple((_text(row_key), _integer(image_index)) for row_key, image_index in value)


def _schema_text(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _schema(value: Any) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value)))


def _rows(value: Any) -> tuple[Record, ...]:
    for row in value:
        _record(row)
        _integer(row["row_index"])
        if not isinstance(row["carried"], dict):
            raise TypeError(f"carried is {row['carried']!r}")
    return tuple(value)


def _record(value: Any) -> Record:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not a row")
    read_keys([key_of(value)])
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not an integer")
    return value


_READ: dict[str, Callable[[Any], Any]] = {
    "schema": _schema,
    "table": _text,
    "keys": read_keys,
    "worker": _integer,
    "rows": _rows,
    "failure": _record,
    "run_id": _text,
    "reason": _text,
    "size": _text,
    "rung": _text,
}
"""Field to what makes it from its JSON value."""
