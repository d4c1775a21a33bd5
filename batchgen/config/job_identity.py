"""The part of a config that distinguishes one job, or one point of a grid, from another.

A field of `JobConfig` is marked with `OF_JOB` or `OF_POINT`. One without a mark is in neither, as
where and how a job runs changes no image. A field of a nested config is in where it is not its
default, so that one that is added later changes no folder made before; those of 0.1.0 are always in
job.json.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from batchgen.config.identity_marks import OF_JOB, OF_NOTHING, OF_POINT
from batchgen.config.job import ImagesConfig, JobConfig
from batchgen.config.names import plain
from batchgen.config.reading import ReadingConfig
from batchgen.config.sampling import SamplingConfig

_FIRST: dict[type, tuple[str, ...]] = {
    ImagesConfig: ("format", "compress_level", "quality", "lossless"),
    ReadingConfig: ("encoding", "delimiter", "quote", "columns", "max_prompt_chars"),
    SamplingConfig: (
        "steps", "guidance_scale", "guidance_rescale", "cfg_cutoff", "clip_skip", "width", "height",
        "scheduler", "negative_prompt", "lora", "timestep_spacing", "long_prompt", "weighting",
    ),
}  # fmt: skip
"""The fields of 0.1.0, which its job.json and the hashes of its environments hold."""


def of_job(config: JobConfig) -> dict[str, Any]:
    """Return what job.json compares by, except model, adapters and environment."""
    return {name: of_part(value) for name, value in _fields(config, OF_JOB)}


def of_part(part: Any) -> Any:
    """Return one of a config's values as plain ones; of a nested config, what is in an identity."""
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        return plain(part)
    values, defaults = plain(part), plain(type(part)())
    beside = {field.name for field in dataclasses.fields(part) if field.metadata == OF_NOTHING}
    first = _FIRST.get(type(part), ())
    return {
        name: value
        for name, value in values.items()
        if name in first or (name not in beside and value != defaults[name])
    }


def of_point(config: JobConfig) -> dict[str, Any]:
    """Return all settings of a grid's point that are not defaults."""
    seeds = config.seed_values()
    config = dataclasses.replace(config, seeds=None if seeds is None else list(seeds))
    default = JobConfig(table="", model=type(config.model)())
    values = {
        name: plain(value) for mark in (OF_JOB, OF_POINT) for name, value in _fields(config, mark)
    }
    defaults = {name: plain(getattr(default, name)) for name in values}
    return {"model_class": type(config.model).__name__, **_beside(values, defaults)}


def _fields(config: JobConfig, mark: dict[str, str]) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        if field.metadata == mark:
            yield field.name, getattr(config, field.name)


def _beside(value: Any, default: Any) -> Any:
    """Return what of nested values differs from the defaults."""
    if isinstance(value, dict) and isinstance(default, dict):
        return {
            key: _beside(item, default.get(key))
            for key, item in value.items()
            if item != default.get(key)
        }
    return value
