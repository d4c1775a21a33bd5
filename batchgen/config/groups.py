"""The names of groups: what `model=demo` or `sampling=fast` stands for.

A name is a file, conf/GROUP/NAME.yaml, for the command line (which Hydra composes), for Python and
for job.json alike. Here those files are read without Hydra. They keep to a part of its language: in
`defaults` the class of a model (`/schema/model/KEY@_here_`) and, in a preset, other groups
(`override /model: NAME`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchgen.config.nearest import did_you_mean
from batchgen.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]
_SCHEMA = re.compile(r"/schema/model/([^@]+)@_here_")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name of a group stands for."""

    values: Mapping[str, Any]
    """Nested values: of the group, or, for a preset, of the whole job."""
    schema: str | None = None
    """For a model: the key of its class in `models.MODELS`."""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """Group to the name that a preset chooses there."""


def config_folder() -> Path:
    """Return conf/: inside the package once installed, beside it in a checkout."""
    inside = _PACKAGE / "conf"
    return inside if inside.is_dir() else _PACKAGE.parent / "conf"


def shipped_folder() -> Path:
    """Return the folder that holds jobs/: that of the package once installed, or the checkout."""
    inside = _PACKAGE / "conf"
    return inside if inside.is_dir() else _PACKAGE.parent


@functools.cache
def names(group: str) -> tuple[str, ...]:
    """Return the names of a group, in alphabetical order."""
    return tuple(sorted(path.stem for path in (config_folder() / group).glob("*.yaml")))


@functools.cache
def entry(group: str, name: str) -> Entry:
    """Return what a name stands for. Raises `ConfigError` for one that there is not."""
    import yaml

    if name not in names(group):
        known = names(group)
        near = did_you_mean(name, known)
        raise ConfigError([f"{group}={name!r} is not one of {', '.join(known)}.{near}"])
    text = (config_folder() / group / f"{name}.yaml").read_text(encoding="utf-8")
    values = dict(yaml.safe_load(text))
    schema: str | None = None
    chosen: dict[str, str] = {}
    for default in values.pop("defaults", ()):
        if isinstance(default, str) and (match := _SCHEMA.fullmatch(default)):
            schema = match[1]
        elif isinstance(default, dict):
            chosen |= {key.removeprefix("override /"): str(to) for key, to in default.items()}
    return Entry(values, schema, chosen)
