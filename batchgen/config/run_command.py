"""The command line that a config comes from, with nothing in it that is a default."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from batchgen.config import groups, shell
from batchgen.config.job import JobConfig
from batchgen.config.models import ModelConfig
from batchgen.config.names import model_named, plain

_IN_FRONT = ("table", "name")
_BESIDE = ("output_root", "limit")
"""Settings without a mark of identity, without which other images would be made."""


def run_command(config: JobConfig) -> str:
    """Return the `batchgen run` that makes the images of a job; of a shard, those of all shards."""
    model, own = _entry_of(config.model)
    default = JobConfig(table="", model=own)
    names = [field.name for field in dataclasses.fields(config) if field.metadata]
    names = list(dict.fromkeys((*_IN_FRONT, *names, *_BESIDE)))
    words = {name: _written(config, default, name) for name in names}
    first = [word for name in _IN_FRONT for word in words.pop(name)]
    rest = [word for said in words.values() for word in said]
    return " ".join([shell.command("batchgen", "run"), *first, f"model={model}", *rest])


def _entry_of(model: ModelConfig) -> tuple[str, ModelConfig]:
    """Return the nearest entry of the group `model`: that of its name, else one of its class."""
    entries = {name: model_named(name) for name in groups.names("model")}
    of_class = {name: one for name, one in entries.items() if type(one) is type(model)}
    name = model.name if model.name in of_class else next(iter(of_class))
    return name, of_class[name]


def _written(config: JobConfig, default: JobConfig, name: str) -> list[str]:
    return list(_overrides(name, plain(getattr(config, name)), plain(getattr(default, name))))


def _overrides(key: str, value: Any, default: Any) -> Iterator[str]:
    """Yield a setting for each value that is not the default."""
    if value == default:
        return
    if isinstance(value, dict):
        below = default if isinstance(default, dict) else {}
        for name, item in value.items():
            yield from _overrides(f"{key}.{name}", item, below.get(name))
    elif isinstance(value, list):
        yield shell.names(key, value)
    else:
        yield shell.override(key, value)
