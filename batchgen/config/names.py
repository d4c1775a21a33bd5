"""Configs from plain values, names for groups and dicts for nested configs, and back."""

from __future__ import annotations

import dataclasses
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from batchgen.config.job import JobConfig
from batchgen.config.models import MODELS, AdapterConfig, ModelConfig
from batchgen.errors import ConfigError

_Config = TypeVar("_Config")

_GROUPS = {"device": "kind", "images": "format"}
"""Configs that one word stands for, and the field it sets."""


def config_from(settings: dict[str, Any]) -> JobConfig:
    """Return a `JobConfig`. Raises `ConfigError` for names that do not exist."""
    values = dict(settings)
    if isinstance(values.get("model"), str):
        values["model"] = _model(values["model"])
    for name, key in _GROUPS.items():
        if isinstance(values.get(name), str):
            values[name] = {key: values[name]}
    if isinstance(values.get("adapters"), dict):
        values["adapters"] = {
            name: _fitted(AdapterConfig(), adapter, f"adapters.{name}")
            for name, adapter in values["adapters"].items()
        }
    if "table" not in values:
        raise ConfigError(["table is missing: name the prompt table, table='prompts.csv'."])
    return _filled(JobConfig(table=str(values["table"])), values, "")


def config_of_job(content: dict[str, Any]) -> JobConfig:
    """Return the config that a job.json records. Raises `ConfigError` for one from elsewhere."""
    classes = {kind.__name__: kind for kind in MODELS.values()}
    values = dict(content.get("config", {}))
    kind = classes.get(str(content.get("model_class")))
    if kind is None or not isinstance(values.get("model"), dict):
        raise ConfigError([f"job.json names no model of ours: {content.get('model_class')!r}."])
    values["model"] = _filled(kind(), values["model"], "model.")
    return config_from(values)


def _model(name: str) -> ModelConfig:
    if name not in MODELS:
        raise ConfigError([f"model={name!r} is not one of {', '.join(MODELS)}."])
    return MODELS[name]()


def _filled(config: _Config, values: dict[str, Any], prefix: str) -> _Config:
    """Return a copy of a config with some of its fields set."""
    names = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    unknown = [f"{prefix}{name} is no setting; there are: {', '.join(names)}." for name in values
               if name not in names]  # fmt: skip
    if unknown:
        raise ConfigError(unknown)
    fitted = {
        name: _fitted(getattr(config, name), value, f"{prefix}{name}")
        for name, value in values.items()
    }
    return dataclasses.replace(config, **fitted)  # type: ignore[type-var]


def _fitted(current: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(current) and isinstance(value, dict):
        return _filled(current, value, f"{name}.")
    if isinstance(current, Enum) and isinstance(value, str):
        choices = type(current).__members__
        by_value = {choice.value: choice for choice in choices.values()}  # as job.json has it
        if value not in choices and value not in by_value:
            raise ConfigError([f"{name}={value!r} is not one of {', '.join(choices)}."])
        return choices.get(value, by_value.get(value))
    return value


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
