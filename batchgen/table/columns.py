"""Which column of a table means which setting."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path

import pyarrow as pa

from batchgen.config import settings, shell
from batchgen.config.nearest import did_you_mean
from batchgen.config.reading import ReadingConfig
from batchgen.config.setting_row import Hashed, Setting
from batchgen.errors import TableError

_ARROW: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64()}

# The row key goes by `id` alone: a `key` or an `image_id` is often repeated, and identity must not
# be guessed.
_ROW_KEY = Setting("what the row is known by", in_table=True, aliases=("id",), name="row_key")

ROWS: Mapping[str, Setting] = {
    row.name: row
    for row in (_ROW_KEY, *settings.SETTINGS.values(), settings.IMAGES_PER_PROMPT)
    if row.in_table
}
"""What a row can say, by name. Only names that mean the same wherever they are met are aliases; no
`sampler`, for one: its values are other programs' names."""

SETTINGS: dict[str, pa.DataType] = {name: _ARROW[row.kind] for name, row in ROWS.items()}
"""What a row can say, and the Arrow type it is read as."""

LATER = frozenset(
    name for name, row in settings.SETTINGS.items() if row.hashed is Hashed.later and row.in_table
)
"""Settings that came after 0.1.0, which carried their columns: the very name alone means them."""

SIZE = "size"
"""What `reading.columns` calls a column with width and height in one, such as 832x1216."""

_NAMES_SHOWN = 20


def canonical_name(setting: str) -> str:
    """Return the name of a setting's column."""
    return "id" if setting == "row_key" else setting


def normal(name: str) -> str:
    """Return a column's name in the spelling that names are compared in."""
    return re.sub(r"[\s-]+", "_", name.strip().casefold())


def matched(names: Sequence[str], chosen: Mapping[str, str], path: Path) -> dict[str, str]:
    """Return setting name -> the table's column name, for every setting the table has.

    `chosen` is `reading.columns`; a column chosen as '' leaves the setting out. Of the others the
    exact name wins, then the name in another spelling (case, spaces, dashes), then an alias.
    Raises TableError where that is not one column, or where no column is the prompt.
    """
    explicit = {_setting(key, path): name for key, name in chosen.items()}
    for setting, name in explicit.items():
        if name and name not in names:
            raise TableError(
                f"{path} has no column {name!r}; it has: {_listed(names, name)}. "
                f"Correct reading.columns.{canonical_name(setting)}.{did_you_mean(name, names)}"
            )
    free = [name for name in names if name not in explicit.values()]
    used: dict[str, str] = {}
    for setting in (*SETTINGS, SIZE):
        column = explicit.get(setting)
        if column is None and setting != SIZE:
            column = _column(setting, free, path)
        if column:
            used[setting] = column
    _refuse_two_sizes(used, path)
    if not names:
        raise TableError(f"{path} has no columns. Give it a column prompt.")
    if "prompt" not in used:
        closest = _closest_first(names, "prompt")[0]
        raise TableError(
            f"{path} has no column 'prompt'; it has: {_listed(names, 'prompt')}. "
            f"Set {override('prompt', closest)}, or the column that holds the prompts."
        )
    return used


def _refuse_two_sizes(used: Mapping[str, str], path: Path) -> None:
    side = next((name for name in ("width", "height") if name in used), None)
    if SIZE in used and side is not None:
        raise TableError(
            f"{path}: reading.columns.size={used[SIZE]} gives the size, and column {used[side]!r} "
            f"the {side}. Choose one: {override(side, '')} carries the second."
        )


def gives_prompt(names: Sequence[str], chosen: Mapping[str, str]) -> bool:
    """Return whether `reading.columns` or a name says which column is the prompt."""
    words = ("prompt", *ROWS["prompt"].aliases)
    return bool(chosen.get("prompt")) or any(normal(name) in words for name in names)


def override(setting: str, column: str) -> str:
    """Return the command-line override that makes a column mean a setting."""
    return shell.override(f"reading.columns.{canonical_name(setting)}", column)


def chosen(
    further: Sequence[str], reading: ReadingConfig, pictures: Collection[str], path: Path
) -> list[str]:
    """Return which of the columns that give no setting are carried into the metadata.

    `pictures` are those with bytes inside nested values: carried only where `reading.carry` names
    them. Raises TableError where `reading.carry` or `reading.drop` names none of the columns.
    """
    for key, names in (("carry", reading.carry or []), ("drop", reading.drop)):
        unknown = next((name for name in names if name not in further), None)
        if unknown is not None:
            known = _listed(further, unknown) or "none"
            raise TableError(
                f"{path}: reading.{key} names {unknown!r}, and the columns that could be carried "
                f"are: {known}.{did_you_mean(unknown, further)}"
            )
    if reading.carry is not None:
        return [name for name in further if name in reading.carry and name not in reading.drop]
    return [name for name in further if name not in reading.drop and name not in pictures]


def left_out(
    further: Sequence[str], reading: ReadingConfig, pictures: Collection[str]
) -> list[str]:
    """Return a note for the columns with pictures that nobody chose or dropped."""
    names = [name for name in further if name in pictures and name not in reading.drop]
    if not names or reading.carry is not None:
        return []
    others = [name for name in further if name not in reading.drop and name not in pictures]
    carry = shell.names("reading.carry", [*others, *names])
    drop = shell.names("reading.drop", [*reading.drop, *names])
    what = f"columns with pictures or other bytes inside are left out of the metadata: {names[0]}"
    what += "".join(f", {name}" for name in names[1:])
    return [f"{what}; {carry} carries them as bytes, {drop} says that they are not wanted"]


def _setting(key: str, path: Path) -> str:
    setting = "row_key" if key == "id" else key
    if setting not in SETTINGS and setting != SIZE:
        keys = _closest_first([canonical_name(name) for name in (*SETTINGS, SIZE)], key)
        raise TableError(
            f"{path}: reading.columns.{key} names no setting; settings are: {', '.join(keys)}."
        )
    return setting


def _column(setting: str, names: Sequence[str], path: Path) -> str | None:
    canonical = canonical_name(setting)
    if canonical in names:
        return canonical
    if setting in LATER:
        return None
    respelt = [name for name in names if normal(name) == canonical]
    found = respelt or [name for name in names if normal(name) in ROWS[setting].aliases]
    if len(found) > 1:
        columns = ", ".join(map(repr, found))
        raise TableError(
            f"{path} has more than one column that could be the {canonical}: {columns}. "
            f"Choose one: {override(setting, found[0])}."
        )
    return found[0] if found else None


def _closest_first(names: Sequence[str], wanted: str) -> list[str]:
    def distance(name: str) -> float:
        return -SequenceMatcher(None, normal(name), wanted.casefold()).ratio()

    return sorted(names, key=distance)


def _listed(names: Sequence[str], wanted: str) -> str:
    ordered = [name if name.isprintable() else repr(name) for name in _closest_first(names, wanted)]
    rest = f" and {len(ordered) - _NAMES_SHOWN} more" if len(ordered) > _NAMES_SHOWN else ""
    return ", ".join(ordered[:_NAMES_SHOWN]) + rest
