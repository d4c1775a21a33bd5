"""A `JobConfig` from names and plain values, as Python and job.json give them, and back."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from batchgen.config import groups
from batchgen.config.groups import Entry
from batchgen.config.job import JobConfig
from batchgen.config.models import MODELS, ModelConfig
from batchgen.config.structure import structured
from batchgen.errors import ConfigError

logger = logging.getLogger(__name__)

_Made = TypeVar("_Made")
_DEFAULT_MODEL = "sdxl-base"


def config_from(settings: Mapping[str, Any]) -> JobConfig:
    """Return the config that values by name come to.

    Args:
        settings: Fields of `JobConfig`. `model`, `device`, `images`, `executor` and `sampling` may
            be a name of their group; every config may be one, or a mapping of its fields. A mapping
            for `model` with the `name` of a model is that model with the rest on top.

    Raises:
        ConfigError: For names, keys and values that do not exist or do not fit, all at once.
    """
    if "table" not in settings:
        raise ConfigError(["table is missing: name the prompt table, table='prompts.csv'."])
    problems: list[str] = []

    def found(make: Callable[..., _Made], *arguments: Any) -> _Made | None:
        try:
            return make(*arguments)
        except ConfigError as error:
            problems.extend(error.problems)
            return None

    values, preset = dict(settings), Entry({})
    if isinstance(values.get("sampling"), str):
        preset = found(groups.entry, "sampling", values.pop("sampling")) or preset
        values = _on_top(values, preset.values)
    for group in ("device", "images", "executor"):
        if isinstance(values.get(group), str):
            entry = found(groups.entry, group, values.pop(group))
            values |= {group: entry.values} if entry else {}
    default = preset.chosen.get("model", _DEFAULT_MODEL)
    model = found(_model, values.pop("model", default), default)
    config: JobConfig | None = found(structured, JobConfig, values)
    if problems or config is None or model is None:
        raise ConfigError(problems)
    config.model = model
    if note := note_of_preset(settings.get("sampling"), model):
        logger.warning("%s", note)
    return config


def note_of_preset(preset: Any, model: ModelConfig) -> str | None:
    """Say that a preset that brings a model of its own runs with another one, or return None."""
    if not isinstance(preset, str) or preset not in groups.names("sampling"):
        return None
    own = groups.entry("sampling", preset).chosen.get("model")
    if own is None or model_named(own).name == model.name:
        return None
    return (
        f"sampling={preset} is made for model={own}, and this job runs model={model.name}: its "
        "pictures may be poor. Leave the model out, or choose another preset."
    )


def config_of_job(content: Mapping[str, Any]) -> JobConfig:
    """Return the config that a job.json records. Raises `ConfigError` for one from elsewhere."""
    classes = {kind.__name__: kind for kind in MODELS.values()}
    values = dict(content.get("config", {}))
    kind, model = classes.get(str(content.get("model_class"))), values.pop("model", None)
    if kind is None or not isinstance(model, dict):
        raise ConfigError([f"job.json names no model of ours: {content.get('model_class')!r}."])
    return config_from({**values, "model": structured(kind, model, "model.")})


def model_named(name: str) -> ModelConfig:
    """Return a model by its name in conf/model. Raises `ConfigError` for one that there is not."""
    entry = groups.entry("model", name)
    return structured(MODELS[str(entry.schema)], entry.values, "model.")


def _model(value: Any, default: str) -> ModelConfig:
    """Return the model that a name, a mapping or a config stands for."""
    if isinstance(value, ModelConfig):
        return structured(type(value), value, "model.")
    if isinstance(value, str):
        return model_named(value)
    if not isinstance(value, Mapping):
        raise ConfigError([f"model={value!r} is no name, no dict of settings and no ModelConfig."])
    name = value.get("name", default)
    # A name of the user's own is that of an SDXL of theirs.
    entry = groups.entry("model", name if name in groups.names("model") else default)
    return structured(MODELS[str(entry.schema)], {**entry.values, **value}, "model.")


def _on_top(values: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with others beneath, where they say nothing themselves."""
    merged = dict(below)
    for name, value in values.items():
        under = below.get(name)
        is_nested = isinstance(value, Mapping) and isinstance(under, Mapping)
        merged[name] = _on_top(value, under) if is_nested and under is not None else value
    return merged


def plain(value: Any) -> Any:
    """Return a config as dicts, lists, numbers and strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, (range, Path)) else value
