"""`geneval`: a folder a row, with the row itself, as GenEval's evaluate_images.py reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from batchgen.export.gathering import Entry
from batchgen.export.handover import Handover
from batchgen.export.reencoding import as_png

NEEDS = ("tag", "include")
_LISTS = ("include", "exclude")


def geneval(handover: Handover) -> None:
    """Write 00000/metadata.jsonl and 00000/samples/00000.png, 00001.png, ... for each row."""
    for _, sample in handover.samples():
        entry = sample.entry
        place = f"{entry.row_number:05d}"
        if entry.position == 0:
            handover.write(f"{place}/metadata.jsonl", _line(entry, handover.own_columns))
        handover.write(f"{place}/samples/{entry.position:05d}.png", as_png(sample))


def misfits(entries: Iterable[Entry]) -> Iterator[str]:
    """Name rows without a tag, and those whose objects are none that the script looks for."""
    for entry in entries:
        if entry.position:
            continue
        if not entry.row["tag"]:
            yield f"row {entry.row['row_key']!r}: tag is empty, and names the kind of task"
        for name in _LISTS:
            value = entry.row.get(name)
            if not (_are_objects(value) or (value is None and name == "exclude")):
                yield (
                    f"row {entry.row['row_key']!r}: {name} is {value!r}, and must be a JSON list "
                    "of objects with class and count"
                )


def _are_objects(value: Any) -> bool:
    objects = _nested(value)
    return isinstance(objects, list) and all(
        isinstance(one, dict) and "class" in one and "count" in one for one in objects
    )


def _line(entry: Entry, own: list[str]) -> bytes:
    """Return the row as its table had it: its own columns, as far as they have a value."""
    values = {name: _nested(entry.row[name]) for name in own}
    line = {name: value for name, value in values.items() if value is not None}
    return json.dumps({**line, "prompt": entry.row["text"]}, default=str).encode() + b"\n"


def _nested(value: Any) -> Any:
    """Return a value that the metadata holds as JSON text as what it was, any other as it is."""
    if not isinstance(value, str) or value[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
