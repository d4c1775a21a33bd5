"""The adapters of a job: where their files are, what identifies one, whether they fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from batchgen.adapters.lora_file import Layer, LoraFile, Shapes, layers_of
from batchgen.adapters.lora_names import COMPONENTS
from batchgen.config import lora, shell
from batchgen.config.models import AdapterConfig, FakeModel, ModelConfig
from batchgen.config.paths import absence, expanded
from batchgen.errors import ModelError
from batchgen.model import weights
from batchgen.model.model_file import file_errors
from batchgen.model.model_files import ModelFiles
from batchgen.storage.hashes import hashes

_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter whose file is here."""

    name: str
    path: Path
    revision: str
    """The first 16 digits of the file's SHA-256."""


def revision_of(content: bytes) -> str:
    """Return what identifies a file's content."""
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def identified(configs: Mapping[str, AdapterConfig]) -> dict[str, Adapter]:
    """Find the files of a job's adapters and hash them; known files are not read.

    Raises `ModelError` for one that is not here.
    """
    if not configs:
        return {}
    files, digests = [], []
    for name, config in configs.items():
        with file_errors(Path(config.path or "")):
            files.append(_located(name, config))
            digests += hashes(files[-1:], weights.stamps_file())
    return {
        name: Adapter(name, file, digest[:_DIGITS])
        for name, file, digest in zip(configs, files, digests, strict=True)
    }


def check(adapters: Iterable[Adapter], model: ModelConfig) -> None:
    """Raise `ModelError` for a file that is not a LoRA, or none for this model.

    Headers only. A model without files takes any LoRA.
    """
    shapes: Shapes | None = None
    for adapter in adapters:
        if shapes is None and not isinstance(model, FakeModel):
            shapes = shapes_in(weights.find(model))
        layers(adapter, shapes)


def shapes_in(files: ModelFiles) -> Shapes:
    """Return the shapes of the layers an adapter can change, from the headers of a model's files.

    Raises `ModelError` for a model that is not whole.
    """
    return {
        component: layers_of({name: at.shape for name, at in files.tensors(component).items()})
        for component in COMPONENTS
    }


def layers(adapter: Adapter, shapes: Shapes | None) -> list[Layer]:
    """Return what an adapter changes in a model of these shapes; nothing where they are not known.

    Raises `ModelError` for a file that is not a LoRA or does not fit.
    """
    try:
        file = LoraFile(adapter.path)
        return [] if shapes is None else file.layers(shapes)
    except ModelError as error:
        raise ModelError(f"adapters.{adapter.name}: {error}") from error


def revisions_text(text: str, adapters: Mapping[str, Adapter]) -> str:
    """Return the revision behind each name of a canonical text, `film:<16 digits> ...`."""
    return " ".join(f"{name}:{adapters[name].revision}" for name in lora.weights_of(text))


def hub_folder(name: str, config: AdapterConfig) -> Path:
    """Return the first folder of the hubs' caches that has the file of an adapter with a `hub_id`.

    Raises `ModelError` if there is none.
    """
    key, hub_id = f"adapters.{name}", str(config.hub_id)
    places = list(dict.fromkeys(weights.hub_places(hub_id, config.huggingface_id)))
    first_fault: ModelError | None = None
    for place in places:
        if any(place.glob("**/*.safetensors")):
            try:
                in_folder(place, config.weight_name, key)
            except ModelError as fault:
                first_fault = first_fault or fault
            else:
                return place
    command = f"batchgen download {shell.override(f'{key}.hub_id', hub_id)}"
    if config.weight_name is not None:
        command += f" {shell.override(f'{key}.weight_name', config.weight_name)}"
    if first_fault is not None:
        raise ModelError(f"{first_fault} `{command}`, with the model of this job, fetches it.")
    looked = "".join(f"\n  {place}" for place in places)
    raise ModelError(
        f"{key}.hub_id={hub_id} is not on this machine. Fetch it with `{command}` and the model of "
        f"this job, or set {key}.path. Looked in:{looked}"
    )


def _located(name: str, config: AdapterConfig) -> Path:
    key = f"adapters.{name}"
    if config.path is None:
        return in_folder(hub_folder(name, config), config.weight_name, key)
    path = expanded(config.path)
    if path.is_dir():
        return in_folder(path, config.weight_name, key)
    if not path.is_file():
        raise ModelError(f"{key}.path={config.path} {absence(path)}. Correct the path.")
    return path


def in_folder(folder: Path, weight_name: str | None, key: str) -> Path:
    """Return the one file meant in a folder; raises `ModelError`, with `key`, if there is none."""
    there = sorted(path.name for path in folder.glob("*.safetensors"))
    if weight_name is None and len(there) == 1:
        return folder / there[0]
    if weight_name is not None and (folder / weight_name).is_file():
        return folder / weight_name
    named = f"has no {weight_name}" if weight_name else "is a folder"
    raise ModelError(
        f"{key}: {folder} {named}; of safetensors it has: {', '.join(there) or 'none'}. "
        f"Set {key}.weight_name."
    )
