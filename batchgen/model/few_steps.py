"""Weights that were distilled to draw in a few steps, known by their names.

Lightning, Hyper, DMD2, LCM and Turbo come as whole models and as LoRAs, and nothing in their
tensors tells them from others. With the steps and the guidance of SDXL they draw burnt pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from batchgen.config.models import AdapterConfig, SdxlModel
from batchgen.config.paths import expanded
from batchgen.model.model_files import ModelFiles


@dataclass(frozen=True, slots=True)
class FewSteps:
    """What weights of one kind were made for."""

    label: str
    pattern: re.Pattern[str]
    """Finds the kind in a name as `_words` writes it."""
    most_steps: int
    preset: str
    """Of conf/sampling: that of the kind, or the nearest."""
    settings: str
    """What of the preset suits other weights of the kind than the preset's own."""
    most_guidance: float = 2.0
    """Above it pictures burn; guidance is off up to 1, and makers of merges advise up to 2."""


_XL = r"(?:(?:sd)?xl)?"
KINDS = (
    FewSteps(
        "SDXL-Lightning",
        re.compile(rf"\b{_XL}lightning{_XL}\b(?! (?:bolt|effect|storm|strike|style))"),
        8,
        "lightning-4",
        "sampling.scheduler=euler sampling.timestep_spacing=trailing sampling.steps=4 "
        "sampling.guidance_scale=0",
    ),
    FewSteps(
        "Hyper-SD with guidance kept",
        re.compile(r"\bhyper ?(?:sd)?(?:xl)?\b.*\bcfg\b"),
        16,
        "lightning-4",
        "sampling.scheduler=ddim sampling.timestep_spacing=trailing sampling.steps=12",
        most_guidance=8.0,
    ),
    FewSteps(
        "Hyper-SD",
        re.compile(
            r"\bhyper ?sd(?:xl)?\b|\bhyper(?: ?xl)?(?= ?(?:$|\d|fp16|lora|unet|v\d|steps?\b))"
        ),
        12,
        "lightning-4",
        "sampling.scheduler=ddim sampling.timestep_spacing=trailing sampling.steps=8 "
        "sampling.guidance_scale=0",
    ),
    FewSteps(
        "DMD2",
        re.compile(rf"\b{_XL}dmd ?2?{_XL}\b"),
        8,
        "lcm-4",
        "sampling.scheduler=lcm sampling.steps=4 sampling.guidance_scale=0",
    ),
    FewSteps(
        "LCM",
        re.compile(rf"\b{_XL}lcm(?:lora)?{_XL}\b|\blatent consistency\b"),
        8,
        "lcm-4",
        "sampling.scheduler=lcm sampling.steps=4 sampling.guidance_scale=1",
    ),
    FewSteps(
        "SDXL-Turbo",
        re.compile(rf"\b{_XL}turbo{_XL}\b"),
        8,
        "turbo",
        "sampling.scheduler=euler_ancestral sampling.timestep_spacing=trailing sampling.steps=4 "
        "sampling.guidance_scale=0",
    ),
)
"""Steps and guidance after the model cards; the first that fits a name counts."""

_PLAIN_NAMES = re.compile(
    r"(pytorch_)?lora(_weights)?|adapter_model|(diffusion_)?(pytorch_)?model(\.fp16)?|unet"
)
"""Stems that say nothing: the folder's name does."""

_TITLES = re.compile(r"ss_output_name|(?!ss_)(.*[._])?(title|name|tags)")
"""Keys of a header that name the weights themselves, not what they were trained on."""

_TEXTS = re.compile(r".*(description|comment|usage_hint)")
"""Keys of texts, which may use the same words of what is in a picture."""

_OF_STEPS = re.compile(r"\bsteps?\b|distill", re.IGNORECASE)


def of_names(names: Iterable[str]) -> FewSteps | None:
    """The kind that the names of some weights tell, or None."""
    words = [_words(name) for name in names]
    return next((kind for kind in KINDS if any(map(kind.pattern.search, words))), None)


def of_model(model: SdxlModel, files: ModelFiles) -> FewSteps | None:
    """The kind of a model, by its hub id, its path and the headers of its UNet; None for others."""
    names = [model.name]
    if model.path is None:
        names += [model.hub_id, model.huggingface_id]
    else:
        names += _of_path(expanded(model.path))
    unet = files.single or files.folder / "unet"
    for file in [unet] if files.single else sorted(unet.glob("*.safetensors")):
        names += _titles(file)
    return of_names(names)


def of_adapter(config: AdapterConfig, file: Path) -> FewSteps | None:
    """The kind of a LoRA, by its hub id, its file's name and its header; None for others."""
    hubs = [config.hub_id, config.huggingface_id, config.weight_name]
    return of_names([*filter(None, hubs), *_of_path(file), *_titles(file)])


def _of_path(path: Path) -> Iterator[str]:
    """Yield what a path says of the weights: its last name, or a folder's that says more."""
    yield path.stem if path.suffix == ".safetensors" else path.name
    if _PLAIN_NAMES.fullmatch(path.stem):
        yield path.parent.name
    # A hub's cache has the name above the snapshot.
    yield from (part for part in path.parts if part.startswith("models--"))


def _titles(file: Path) -> list[str]:
    try:
        with safe_open(str(file), framework="np") as opened:
            metadata: Mapping[str, str] = opened.metadata() or {}
    except (OSError, SafetensorError):
        return []  # whoever loads the file says what is wrong with it
    return [
        value
        for key, value in metadata.items()
        if _TITLES.fullmatch(key) or (_TEXTS.fullmatch(key) and _OF_STEPS.search(value))
    ]


def _words(name: str) -> str:
    """Return a name in lower case with a space between words: `DreamShaperXLTurbo` has three."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.findall(r"[^\W_]+", parted.casefold()))
