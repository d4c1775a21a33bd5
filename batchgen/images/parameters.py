"""The `parameters` text inside an image file: the settings as viewers read them, and back."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from batchgen.config.schedulers import SCHEDULERS
from batchgen.config.settings import Settings
from batchgen.errors import ImageError

RNG = "numpy-PCG64"
"""Where the noise comes from, as metadata and `parameters` name it."""

_PAIR = re.compile(r'([\w ]+): ("(?:\\.|[^\\"])*"|[^,]*)(?:, |$)')
_GUARD = "\u200b"
"""Zero-width space: keeps a prompt that begins like the negative one from being read as it."""
_FIRST_LAYER = 2
"""Viewers count layers from the last, 1; SDXL's own, which diffusers calls 0, is the one before."""
_RARE = {
    "timestep_spacing": "Timestep spacing",
    "guidance_rescale": "CFG rescale",
    "cfg_cutoff": "CFG cutoff",
    "long_prompt": "Long prompt",
    "weighting": "Prompt weighting",
}
"""Settings that are named where they are not the default."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")


def parameters_text(
    settings: Settings, model: str, model_revision: str, lora_revisions: str = ""
) -> str:
    """Return the settings as viewers of generated images read them.

    The prompt, a line of the negative prompt if there is one, a line of `Key: value` pairs; the
    format of AUTOMATIC1111's web UI. Line breaks and control characters inside a prompt become
    spaces here, so that no prompt can pass for settings; the metadata keeps them.
    """
    lines = [_one_line(settings.prompt)]
    if settings.negative_prompt:
        lines.append(f"Negative prompt: {_one_line(settings.negative_prompt)}")
    pairs = {
        "Steps": settings.steps,
        "Sampler": SCHEDULERS[settings.scheduler].label,
        "CFG scale": settings.guidance_scale,
        "Seed": settings.seed,
        "Size": f"{settings.width}x{settings.height}",
        "Model hash": model_revision[:10],
        "Model": model,
        "RNG source": RNG,
    }
    if settings.prompt_2:
        pairs["Prompt 2"] = _one_line(settings.prompt_2)
    if settings.clip_skip:
        pairs["Clip skip"] = settings.clip_skip + _FIRST_LAYER
    for name, default in _rare_defaults(type(settings)).items():
        if (value := getattr(settings, name)) != default:
            pairs[_RARE[name]] = value
    if settings.lora:
        pairs["Lora"] = settings.lora
        pairs["Lora hashes"] = _lora_hashes(lora_revisions)
    lines.append(", ".join(f"{key}: {_quoted(str(value))}" for key, value in pairs.items()))
    return "\n".join(lines)


def _rare_defaults(kind: type[Settings]) -> dict[str, Any]:
    return {f.name: f.default for f in dataclasses.fields(kind) if f.name in _RARE}


def _lora_hashes(revisions: str) -> str:
    """Return `film: 31e35c80fc, ...`, as the web UI writes them, of `film:<16 digits> ...`."""
    pairs = (pair.partition(":") for pair in revisions.split())
    return ", ".join(f"{name}: {digits[:10]}" for name, _, digits in pairs)


def _one_line(text: str) -> str:
    line = _CONTROL.sub(" ", text).strip()
    return f"{_GUARD}{line}" if line.startswith("Negative prompt:") else line


def _quoted(value: str) -> str:
    is_plain = not any(character in value for character in ',:\n"')
    return value if is_plain else json.dumps(value, ensure_ascii=False)


def settings_of(parameters: str) -> tuple[Settings, str]:
    """Return the settings and the model's name behind a `parameters` text of ours.

    Line breaks in a prompt became spaces, so only one-line prompts come back exactly. Raises
    `ImageError` for a text that says too little.
    """
    *texts, last = parameters.split("\n")
    pairs = {key: _unquoted(value) for key, value in _PAIR.findall(last)}
    labels = {scheduler.label: name for name, scheduler in SCHEDULERS.items()}
    try:
        width, _, height = pairs["Size"].partition("x")
        settings = Settings(
            prompt=texts[0].removeprefix(_GUARD),
            prompt_2=pairs.get("Prompt 2"),
            negative_prompt="".join(texts[1:])
            .removeprefix("Negative prompt: ")
            .removeprefix(_GUARD),
            seed=int(pairs["Seed"]),
            steps=int(pairs["Steps"]),
            guidance_scale=float(pairs["CFG scale"]),
            width=int(width),
            height=int(height),
            scheduler=labels[pairs["Sampler"]],
            clip_skip=int(pairs.get("Clip skip", _FIRST_LAYER)) - _FIRST_LAYER,
            **{
                name: type(default)(pairs[_RARE[name]])
                for name, default in _rare_defaults(Settings).items()
                if _RARE[name] in pairs
            },
            lora=pairs.get("Lora", ""),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise ImageError(f"the settings inside cannot be read: {parameters[:60]!r}") from error
    return settings, pairs.get("Model", "")


def _unquoted(value: str) -> str:
    return str(json.loads(value)) if value.startswith('"') else value
