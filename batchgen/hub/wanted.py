"""What `batchgen download` can fetch: the files of a model, and the file of an adapter.

Each has its place on a hub and on this machine, and a check that it is complete; not how it is
fetched.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from batchgen.adapters.adapter import hub_folder, in_folder
from batchgen.adapters.lora_file import LoraFile
from batchgen.config.models import AdapterConfig, SdxlModel
from batchgen.config.paths import expanded
from batchgen.errors import ModelError
from batchgen.hub.hubs import Hub, HuggingFace, Mirror, ModelScope, RemoteFile
from batchgen.model import weights
from batchgen.model.model_file import AGAIN
from batchgen.model.model_files import WEIGHTS

HUBS = ("modelscope", "hf")

_TENSORS = "*.safetensors"
_INDEX = "model_index.json"
_LICENCE = "LICENSE*"


class Wanted(Protocol):
    """Something to fetch whole, from one place. All methods raise `ModelError`."""

    @property
    def hub(self) -> Hub:
        """Where it comes from."""
        ...

    @property
    def patterns(self) -> list[str]:
        """Of fnmatch, on paths in the hub's repository: what is asked for."""
        ...

    @property
    def to(self) -> Path | None:
        """The folder to fetch into; None is where the hub's library keeps what it fetched."""
        ...

    @property
    def licence(self) -> str:
        """A line on the terms of use."""
        ...

    def files(self) -> list[RemoteFile]:
        """What is to be fetched, as the hub lists it; raises if that would not be whole."""
        ...

    def folder(self) -> Path:
        """The folder where it is found on this machine, whole or not; raises if it is not here."""
        ...

    def check(self, folder: Path) -> None:
        """Raise if what is in a folder is not whole or cannot be used."""
        ...


@dataclass(frozen=True, slots=True)
class WantedModel:
    """One variant of a model: configs and tokenizers only where its tensors are a single file."""

    hub: Hub
    model: SdxlModel

    @property
    def patterns(self) -> list[str]:
        """See `Wanted.patterns`."""
        return [*weights.files_in(Path(), self.model).patterns(), _LICENCE]

    @property
    def to(self) -> Path | None:
        """See `Wanted.to`: `model.path`, or beside a single file `model.config_path`."""
        return _named(self.model)

    @property
    def licence(self) -> str:
        """See `Wanted.licence`."""
        if self.model.hub_id != SdxlModel.hub_id:
            return _terms(self.model.hub_id)
        return (
            "Stable Diffusion XL is licensed under CreativeML Open RAIL++-M: using it, you accept "
            "the terms in its LICENSE.md."
        )

    def files(self) -> list[RemoteFile]:
        """See `Wanted.files`."""
        files = self.hub.files(self.patterns)
        names = {file.path for file in files}
        with_weights = {name.partition("/")[0] for name in names if name.endswith(".safetensors")}
        lacking = [] if _INDEX in names else [_INDEX]
        if weights.files_in(Path(), self.model).single is None:
            lacking += [f"{name}/{_TENSORS}" for name in sorted({*WEIGHTS} - with_weights)]
        if lacking:
            raise ModelError(
                f"{self.hub.name} has no {', '.join(lacking)} for model.variant="
                f"{self.model.variant}. Choose another variant (null for files without one), or "
                "another model.hub_id."
            )
        return files

    def folder(self) -> Path:
        """See `Wanted.folder`."""
        return self.to or weights.find(self.model).folder

    def check(self, folder: Path) -> None:
        """See `Wanted.check`."""
        weights.files_in(folder, self.model).check()


@dataclass(frozen=True, slots=True)
class WantedAdapter:
    """The one file of an adapter that has a name on a hub."""

    hub: Hub
    name: str
    """The job's own for it."""
    config: AdapterConfig

    @property
    def patterns(self) -> list[str]:
        """See `Wanted.patterns`."""
        return [_one(self.config), _LICENCE]

    @property
    def to(self) -> Path | None:
        """See `Wanted.to`: never a folder of the user's, which would be `path`."""
        return None

    @property
    def licence(self) -> str:
        """See `Wanted.licence`."""
        return _terms(str(self.config.hub_id))

    def files(self) -> list[RemoteFile]:
        """See `Wanted.files`; where the hub has several, `weight_name` must choose."""
        listed = self.hub.files([_TENSORS, _LICENCE])
        tensors = {file.path for file in listed if file.path.endswith(".safetensors")}
        chosen = self.config.weight_name
        # As where a folder is searched: without a name, only what lies at the top counts.
        meant = {path for path in tensors if path == chosen or (not chosen and "/" not in path)}
        if len(meant) != 1:
            named = f"no {chosen}" if chosen else "not one .safetensors file at the top"
            raise ModelError(
                f"adapters.{self.name}: {self.hub.name} has {named}; of safetensors it has: "
                f"{', '.join(sorted(tensors)) or 'none'}. Set adapters.{self.name}.weight_name."
            )
        return [file for file in listed if file.path in meant | ({file.path} - tensors)]

    def folder(self) -> Path:
        """See `Wanted.folder`."""
        return hub_folder(self.name, self.config)

    def check(self, folder: Path) -> None:
        """See `Wanted.check`; whether it fits a model is for the run to see."""
        LoraFile(in_folder(folder, self.config.weight_name, f"adapters.{self.name}"))


def wanted_model(model: SdxlModel, source: str) -> WantedModel:
    """A model from `modelscope`, `hf`, or a folder."""
    if source == "modelscope":
        return WantedModel(ModelScope(model.hub_id, model.hub_revision), model)
    if source == "hf":
        return WantedModel(HuggingFace(model.huggingface_id, model.huggingface_revision), model)
    return WantedModel(_mirror(source, model.hub_id, _INDEX), model)


def wanted_adapter(name: str, config: AdapterConfig, source: str) -> WantedAdapter:
    """An adapter with a `hub_id` from `modelscope`, `hf`, or a folder; `name` is the job's own."""
    hub_id = str(config.hub_id)
    if source == "modelscope":
        return WantedAdapter(ModelScope(hub_id, "master"), name, config)
    if source == "hf":
        return WantedAdapter(HuggingFace(config.huggingface_id or hub_id, "main"), name, config)
    return WantedAdapter(_mirror(source, hub_id, _one(config)), name, config)


def is_left_alone(model: SdxlModel, source: str) -> bool:
    """Whether a whole model is here that no download made, or that the source has nothing for.

    Such a model may be one of the user's own, trained further: nothing is written over it. Raises
    `ModelError` for a folder or file of the user's that is not a complete model of these settings.
    """
    try:
        files = weights.find(model)
        files.check()
    except ModelError as fault:
        named = _named(model)
        if named is not None and has_files(named) and not weights.receipt(named):
            raise _not_ours(named, fault) from fault
        return False
    if source not in HUBS and expanded(source).is_dir():
        has_model = (_within(source, model.hub_id, _INDEX) / _INDEX).is_file()
        if not has_model:
            return True
    return model.path is not None and not weights.receipt(files.folder)


def has_files(place: Path) -> bool:
    """Whether it is a file, or a folder with a file or link in it, however deep."""
    return place.is_file() or any(at.is_file() or at.is_symlink() for at in place.rglob("*"))


def _named(model: SdxlModel) -> Path | None:
    """What the user names as the folder of a model: of a single file, that of its configs."""
    single = weights.files_in(Path(), model).single
    named = model.path if single is None else model.config_path
    return expanded(named) if named else None


def _not_ours(named: Path, fault: ModelError) -> ModelError:
    found = str(fault).removesuffix(AGAIN).rstrip()
    return ModelError(
        f"{found} `batchgen download` did not make {named} and writes nothing into it: set "
        "model.path (of a single file, model.config_path) to a new folder, or model.variant to "
        "that of the files, null for files without one."
    )


def _one(config: AdapterConfig) -> str:
    return glob.escape(config.weight_name) if config.weight_name else _TENSORS


def _terms(hub_id: str) -> str:
    return f"The licence of {hub_id}: see its LICENSE, or the model card of {hub_id}."


def _mirror(source: str, hub_id: str, sign: str) -> Mirror:
    place = _within(source, hub_id, sign)
    if not any(place.glob(sign)):
        raise ModelError(
            f"--from {place} has no {sign}. Name modelscope, hf, or the folder that holds it, "
            f"at its top or in {hub_id}."
        )
    return Mirror(place, weights.mirror_folder(hub_id))


def _within(source: str, hub_id: str, sign: str) -> Path:
    """Where a folder has the files of a repository: in OWNER/NAME, in NAME, or else at its top."""
    top = expanded(source).absolute()
    places = (top / hub_id, top / hub_id.rpartition("/")[2])
    return next((place for place in places if any(place.glob(sign))), top)
