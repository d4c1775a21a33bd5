"""Which column of a table means which setting."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path

import pyarrow as pa

from batchgen.errors import TableError

SETTINGS: dict[str, pa.DataType] = {
    "row_key": pa.string(),
    "prompt": pa.string(),
    "prompt_2": pa.string(),
    "negative_prompt": pa.string(),
    "seed": pa.int64(),
    "steps": pa.int64(),
    "guidance_scale": pa.float64(),
    "guidance_rescale": pa.float64(),
    "cfg_cutoff": pa.float64(),
    "clip_skip": pa.int64(),
    "width": pa.int64(),
    "height": pa.int64(),
    "scheduler": pa.string(),
    "lora": pa.string(),
    "images_per_prompt": pa.int64(),
}
"""What a row can say, and the Arrow type it is read as."""

# Only names that mean the same wherever they are met. The row key goes by `id` alone: a `key` or
# an `image_id` is often repeated, and identity must not be guessed. No `sampler`: its values are
# other programs' names.
_ALIASES: dict[str, tuple[str, ...]] = {
    "row_key": ("id",),
    "prompt": ("text", "caption", "positive_prompt"),
    "prompt_2": ("prompt2",),
    "negative_prompt": ("negative", "neg_prompt"),
    "steps": ("num_inference_steps", "inference_steps", "num_steps"),
    "guidance_scale": ("cfg_scale", "cfg", "guidance"),
    "images_per_prompt": ("num_images_per_prompt", "num_images", "n_images"),
}

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
    value = column if re.fullmatch(r"\w+", column, re.ASCII) else repr(column)
    return f"reading.columns.{_canonical(setting)}={value}"


def near_misses(carried: Collection[str], used: Collection[str]) -> list[str]:
    """Return a note for each carried column whose name is nearly that of a setting not in use."""
    words = {
        word: setting
        for setting in SETTINGS
        for word in (_canonical(setting), *_ALIASES.get(setting, ()))
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
    found = respelt or [name for name in names if _normal(name) in _ALIASES.get(setting, ())]
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
