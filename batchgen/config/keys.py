"""The keys of a job's settings, as they stand on a command line, and what each of them holds."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from batchgen.config.job import JobConfig
from batchgen.config.models import MODELS, AdapterConfig, ModelConfig
from batchgen.config.nearest import nearest
from batchgen.config.settings import IMAGES_PER_PROMPT, SETTINGS

GROUPS = ("model", "device", "images", "executor", "sampling", "jobs")
"""Keys whose value is the name of a file."""

OPEN = ("reading.columns", "adapters")
"""Keys below which names are free."""

_ELSEWHERE = {
    "sampler": "sampling.scheduler",
    "sampler_name": "sampling.scheduler",
    "batch_count": "images_per_prompt",
    "n_iter": "images_per_prompt",
    "n_samples": "images_per_prompt",
    "output": "output_root",
    "output_dir": "output_root",
    "outdir": "output_root",
    "output_folder": "output_root",
    "prompts": "table",
    "prompt_file": "table",
    "input": "table",
    "csv": "table",
    "checkpoint": "model.path",
    "ckpt": "model.path",
    "preset": "sampling",
    "job": "jobs",
}
"""What other tools call a setting."""


@functools.cache
def hints() -> Mapping[str, Any]:
    """Return the type of each key; of the keys of models, those of every model."""
    found: dict[str, Any] = {"sampling": str, "jobs": str}
    found |= dict(_fields("", JobConfig))
    for model in MODELS.values():
        found |= dict(_fields("model.", model))
    return found


def _fields(prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
    for name, hint in get_type_hints(kind).items():
        yield f"{prefix}{name}", hint
        if dataclasses.is_dataclass(hint) and isinstance(hint, type) and hint is not ModelConfig:
            yield from _fields(f"{prefix}{name}.", hint)


def hint_of(key: str) -> Any:
    """Return the type of a key, also of one that is named freely; None for one there is not."""
    if key.startswith("reading.columns."):
        return str
    if key.startswith("adapters.") and key.count(".") == 2:
        return get_type_hints(AdapterConfig).get(key.rpartition(".")[2])
    return hints().get(key)


def is_text(key: str) -> bool:
    """Whether a key holds text."""
    hint = hint_of(key)
    if key in GROUPS:
        return False
    return hint is str or (get_origin(hint) in (Union, UnionType) and str in get_args(hint))


def is_group(key: str) -> bool:
    """Whether a key holds settings below it."""
    return any(one.startswith(f"{key}.") for one in hints())


def is_list(key: str) -> bool:
    """Whether a key holds a list."""
    return key == "seeds" or get_origin(hint_of(key)) is list


def nearest_key(key: str) -> str | None:
    """Return the key that somebody meant by one that there is not, or None."""
    name = key.rpartition(".")[2].casefold().replace("-", "_")
    known = [one for one in hints() if one not in OPEN]
    meant = [one for one in known if one.rpartition(".")[2] == name] or _called(name)
    meant.sort(key=lambda one: not one.startswith("sampling."))
    if meant:
        return meant[0]
    prefix = key.rpartition(".")[0]
    beside = [one for one in known if one.rpartition(".")[0] == prefix]
    found = nearest(key, beside, 0.7) or nearest(key, known, 0.7)
    if found is None:
        last = nearest(name, {one.rpartition(".")[2] for one in known}, 0.75)
        found = nearest_key(last) if last is not None else None
    return found


def _called(name: str) -> list[str]:
    """Return the keys of settings that go by another name in tables or elsewhere."""
    rows = {**SETTINGS, "images_per_prompt": IMAGES_PER_PROMPT}
    keys = [key for key, row in rows.items() if name in row.aliases]
    found = [key if key in hints() else f"sampling.{key}" for key in keys]
    found = [key for key in found if key in hints()]
    return found or [key for other, key in _ELSEWHERE.items() if other == name]


def neighbours(key: str) -> list[str]:
    """Return the keys beside one, for a message that lists them."""
    prefix = key.rpartition(".")[0]
    found = [one for one in hints() if one.rpartition(".")[0] == prefix]
    return found or [one for one in hints() if "." not in one]
