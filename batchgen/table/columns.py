"""Which column of a table means which setting."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path

import pyarrow as pa

from batchgen.config import settings, shell
from batchgen.config.setting_row import Setting
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

_NAMES_SHOWN = 20


def _canonical(setting: str) -> str:
    return "id" if setting == "row_key" else setting


def _normal(name: str) -> str:
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
                f"Correct reading.columns.{_canonical(setting)}."
            )
    free = [name for name in names if name not in explicit.values()]
    used: dict[str, str] = {}
    for setting in SETTINGS:
        column = explicit[setting] if setting in explicit else _column(setting, free, path)
        if column:
            used[setting] = column
    if "prompt" not in used:
        closest = _closest_first(names, "prompt")[0]
        raise TableError(
            f"{path} has no column 'prompt'; it has: {_listed(names, 'prompt')}. "
            f"Set {override('prompt', closest)}, or the column that holds the prompts."
        )
    return used


def override(setting: str, column: str) -> str:
    """Return the command-line override that makes a column mean a setting."""
    return shell.override(f"reading.columns.{_canonical(setting)}", column)


def near_misses(carried: Collection[str], used: Collection[str]) -> list[str]:
    """Return a note for each carried column whose name is nearly that of a setting not in use."""
    words = {
        word: setting
        for setting in SETTINGS
        for word in (_canonical(setting), *ROWS[setting].aliases)
    }
    notes = []
    for name in carried:
        close = get_close_matches(_normal(name), words, n=1, cutoff=0.8)
        if close and _normal(name) not in words and words[close[0]] not in used:
            setting = words[close[0]]
            notes.append(
                f"column {name!r} is carried as it is; if it is the {_canonical(setting)}, "
                f"set {override(setting, name)}"
            )
    return notes


def _setting(key: str, path: Path) -> str:
    setting = "row_key" if key == "id" else key
    if setting not in SETTINGS:
        keys = _closest_first([_canonical(name) for name in SETTINGS], key)
        raise TableError(
            f"{path}: reading.columns.{key} names no setting; settings are: {', '.join(keys)}."
        )
    return setting


def _column(setting: str, names: Sequence[str], path: Path) -> str | None:
    canonical = _canonical(setting)
    if canonical in names:
        return canonical
    respelt = [name for name in names if _normal(name) == canonical]
    found = respelt or [name for name in names if _normal(name) in ROWS[setting].aliases]
    if len(found) > 1:
        columns = ", ".join(map(repr, found))
        raise TableError(
            f"{path} has more than one column that could be the {canonical}: {columns}. "
            f"Choose one: {override(setting, found[0])}."
        )
    return found[0] if found else None


def _closest_first(names: Sequence[str], wanted: str) -> list[str]:
    def distance(name: str) -> float:
        return -SequenceMatcher(None, _normal(name), wanted.casefold()).ratio()

    return sorted(names, key=distance)


def _listed(names: Sequence[str], wanted: str) -> str:
    ordered = [name if name.isprintable() else repr(name) for name in _closest_first(names, wanted)]
    rest = f" and {len(ordered) - _NAMES_SHOWN} more" if len(ordered) > _NAMES_SHOWN else ""
    return ", ".join(ordered[:_NAMES_SHOWN]) + rest
