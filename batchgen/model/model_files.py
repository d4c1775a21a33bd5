"""The files of one SDXL: which of them are loaded, and whether they are complete.

The layout is diffusers', or one file with all tensors beside a folder that has the rest. Only
safetensors are loaded: a pickle runs code when it is opened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchgen.errors import ModelError
from batchgen.model import noise_schedule, shapes, single_file, unet_depths, vocabulary
from batchgen.model.model_file import AGAIN, file_errors, missing, parsed, refuse_pointer
from batchgen.model.tensors import DTYPES, Stored, stored

PIPELINE = "StableDiffusionXLPipeline"

WEIGHTS = {
    "text_encoder": "model",
    "text_encoder_2": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
"""The components that have weights, and what those files are called."""

OTHERS = {
    "scheduler": ("scheduler_config.json",),
    "tokenizer": ("vocab.json", "merges.txt", "tokenizer_config.json"),
    "tokenizer_2": ("vocab.json", "merges.txt", "tokenizer_config.json"),
}
"""The components that have none."""

OPTIONAL = ("special_tokens_map.json", "added_tokens.json")
"""What a tokenizer reads besides, where it is there; both may change what a text's tokens are."""

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")

SHOWN = 3
"""How many tensors a message names."""

UNUSED = re.compile(r"(position_ids|logit_scale|num_batches_tracked)$|(^|\.)loss\.")
"""Tensors that files may hold and no model needs."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where the parts of one model are; nothing is read before it is asked for."""

    folder: Path
    """In diffusers' layout; its weights are left alone where there is a `single`."""
    variant: str | None = None
    """The suffix of the weight files, as in diffusers."""
    single: Path | None = None
    """One file with the tensors of all components, under the names of SDXL's first release."""
    full_precision_vae: bool = False
    """Whether the VAE's files are those without a suffix."""

    def check(self) -> None:
        """Raise `ModelError` unless this is a whole SDXL that is safe to load.

        Every tensor that the configs call for must be there in its shape, and none that they do not
        know. Reads headers, not tensors: a second at most for a model of any size.
        """
        for file in self.loaded():
            if file.suffix == ".json":
                parsed(file)
            else:
                refuse_pointer(file)
        self._refuse_other_schedule()
        for component in WEIGHTS:
            self.tensors(component)
        for number in ("", "_2"):
            encoder = f"text_encoder{number}"
            n_tokens = parsed(self._config(encoder)).get("vocab_size", 0)
            vocabulary.refuse_other(self.folder / f"tokenizer{number}", encoder, n_tokens)

    def loaded(self) -> list[Path]:
        """Every file that a load reads and that shapes its images; looks for no more.

        Raises `ModelError` for a folder that lacks one, or cannot be read.
        """
        with file_errors(self.folder):
            return self._loaded()

    def _loaded(self) -> list[Path]:
        index = parsed(self.folder / "model_index.json")
        if index.get("_class_name") != PIPELINE:
            raise ModelError(
                f"{self.folder} holds a {index.get('_class_name')}; batchgen runs {PIPELINE} only."
            )
        files = [self.folder / "model_index.json"]
        for component in (*WEIGHTS, *OTHERS):
            if not (self.folder / component).is_dir():
                raise missing(self.folder / component)
            if component in WEIGHTS:
                files.append(self._config(component))
                files += self._weights(component) if self.single is None else []
            else:
                place = self.folder / component
                files += [place / name for name in OTHERS[component]]
                files += [place / name for name in OPTIONAL if (place / name).is_file()]
        return files if self.single is None else [*files, self.single]

    def schedule(self) -> noise_schedule.NoiseSchedule:
        """What the scheduler's config and the marks of a single file say."""
        keys = stored(self.single) if self.single is not None else ()
        return noise_schedule.read(parsed(self.folder / noise_schedule.FILE), keys)

    def n_skip_connections(self) -> int:
        """How many of them the UNet has, by its config."""
        return unet_depths.n_skip_connections(parsed(self._config("unet")))

    def tensors(self, component: str) -> dict[str, Stored]:
        """Where each tensor of a component is, by diffusers' name for it.

        Raises `ModelError` unless they are exactly those that its config.json calls for.
        """
        there = self._stored(component)
        place, config_file = self.single or self.folder / component, self._config(component)
        config = parsed(config_file)
        try:
            found, wrong = self._matched(component, config, there)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise ModelError(
                f"{config_file} is not that of an SDXL: {type(error).__name__}: {error}. {AGAIN}"
            ) from error
        if wrong:
            raise ModelError(
                f"{place} is not a complete {component}: {_listed(wrong)}. It would be "
                f"initialised at random. {AGAIN}"
            )
        _refuse_other_types(place, found)
        left = there.keys() - {one.key for one in found.values()}
        if unknown := sorted(key for key in left if not UNUSED.search(key)):
            raise ModelError(
                f"{place} has tensors that {config_file} does not call for: {_listed(unknown)}. "
                "They do not belong together; take both from one model."
            )
        return found

    def patterns(self) -> list[str]:
        """Patterns of fnmatch for all that a load reads, on paths inside the folder."""
        plain = [
            "model_index.json", "scheduler/*", "tokenizer/*", "tokenizer_2/*",
            *(f"{component}/config.json" for component in WEIGHTS),
        ]  # fmt: skip
        if self.single is not None:
            return plain
        return plain + [
            f"{component}/{stem}{rest}"
            for component, stem in WEIGHTS.items()
            for dotted in (self._suffix(component),)
            for rest in (
                f"{dotted}.safetensors",
                f"{dotted}-*.safetensors",
                f".safetensors.index{dotted}.json",
            )
        ]

    def _refuse_other_schedule(self) -> None:
        scheduler, index = self.folder / noise_schedule.FILE, self.folder / "model_index.json"
        noise_schedule.refuse_unknown(scheduler, parsed(scheduler), parsed(index).get("scheduler"))
        if self.single is not None:
            predicted = self.schedule().prediction_type
            noise_schedule.refuse_marks(self.single, stored(self.single), scheduler, predicted)

    def _config(self, component: str) -> Path:
        return self.folder / component / "config.json"

    def _weights(self, component: str) -> list[Path]:
        dotted = self._suffix(component)
        return _weight_files(self.folder / component, WEIGHTS[component], dotted)

    def _suffix(self, component: str) -> str:
        """The variant of a component's files, with its dot."""
        is_plain = self.variant is None or (component == "vae" and self.full_precision_vae)
        return "" if is_plain else f".{self.variant}"

    def _stored(self, component: str) -> dict[str, Stored]:
        """What the files of a component hold, by the names in them."""
        if self.single is not None:
            prefix = single_file.PREFIXES[component]
            return {k: v for k, v in stored(self.single).items() if k.startswith(prefix)}
        files = [file for file in self._weights(component) if file.suffix == ".safetensors"]
        return {key: tensor for file in files for key, tensor in stored(file).items()}

    def _matched(
        self, component: str, config: dict[str, Any], there: dict[str, Stored]
    ) -> tuple[dict[str, Stored], list[str]]:
        """Return the tensors by the model's names, and what is wrong with the first misfits."""
        found: dict[str, Stored] = {}
        wrong: list[str] = []
        by_name = {shapes.canonical(key): tensor for key, tensor in there.items()}
        for name, shape in shapes.tensors(component, config):
            if self.single is None:
                tensor = by_name.get(name)
            else:
                tensor = single_file.find(there, component, name, config)
            if tensor is None:
                wrong.append(f"{name} is missing")
            elif tensor.shape != shape:
                wrong.append(f"{name} is {_size(tensor.shape)}, not {_size(shape)}")
            else:
                found[name] = tensor
            if len(wrong) > SHOWN:
                break
        return found, wrong


def check(folder: Path, variant: str | None) -> None:
    """Raise `ModelError` unless a folder holds a whole SDXL; see `ModelFiles.check`."""
    ModelFiles(folder, variant).check()


def _weight_files(component: Path, stem: str, dotted: str) -> list[Path]:
    single = component / f"{stem}{dotted}.safetensors"
    if single.is_file():
        return [single]
    index = component / f"{stem}.safetensors.index{dotted}.json"
    if index.is_file():
        shards = parsed(index).get("weight_map")
        if not isinstance(shards, dict):
            raise ModelError(f"{index} names no shards: it has no weight_map. {AGAIN}")
        bad = next((name for name in shards.values() if not _is_shard(name)), "")
        if bad != "":
            raise ModelError(
                f"{index} names {bad!r}, which is not a .safetensors file beside it. {AGAIN}"
            )
        return [index, *(component / name for name in sorted(set(shards.values())))]
    there = sorted(path.name for path in component.iterdir())
    tensors = [name for name in there if name.endswith(".safetensors")]
    pickles = [name for name in there if name.endswith(PICKLES)]
    if pickles and not tensors:
        raise ModelError(
            f"{component} holds pickled weights only ({', '.join(pickles)}); opening a pickle can "
            "run any code. Take the safetensors of this model: `batchgen download`."
        )
    if tensors:
        raise ModelError(
            f"{component} has no {single.name}; it has {', '.join(tensors)}. "
            "Set model.variant to the word between the dots, or to null where there is none."
        )
    raise missing(single)


def _refuse_other_types(place: Path, tensors: dict[str, Stored]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise ModelError(
                f"{place} stores {name} as {tensor.dtype}; only {' and '.join(DTYPES)} can be "
                "loaded. Convert the file, or take the float16 files of this model."
            )


def _is_shard(name: object) -> bool:
    """Whether a weight_map may name this: tensors in the folder of the index."""
    is_tensors = isinstance(name, str) and name.endswith(".safetensors")
    return is_tensors and Path(str(name)).name == name


def _listed(items: list[str]) -> str:
    return ", ".join(items[:SHOWN]) + (" and more" if len(items) > SHOWN else "")


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
