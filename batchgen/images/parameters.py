"""The `parameters` text inside an image file: the settings as viewers read them, and back."""

from __future__ import annotations

import json
import re
from typing import Any

from batchgen.config.schedulers import SCHEDULERS
from batchgen.config.settings import SETTINGS, Settings
from batchgen.errors import ImageError

RNG = "numpy-PCG64"
"""Where the noise comes from, as metadata and `parameters` name it."""

_PAIR = re.compile(r'([\w ]+): ("(?:\\.|[^\\"])*"|[^,]*)(?:, |$)')
_GUARD = "\u200b"
"""Zero-width space: keeps a prompt that begins like the negative one from being read as it."""
_FIRST_LAYER = 2
"""Viewers count layers from the last, 1; SDXL's own, which diffusers calls 0, is the one before."""
_ALWAYS = ("steps", "scheduler", "guidance_scale", "seed")
"""Settings that every text names, in the order of the web UI."""
_UNUSUAL = [
    name
    for name in dict.fromkeys(("prompt_2", "clip_skip", *SETTINGS))
    if SETTINGS[name].label and name not in _ALWAYS
]
"""Settings that are named where they are not the default, in the order of 0.1.0."""
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
        **{_label(name): _shown(name, settings) for name in _ALWAYS},
        "Size": f"{settings.width}x{settings.height}",
        "Model hash": model_revision[:10],
        "Model": model,
        "RNG source": RNG,
    }
    for name in _UNUSUAL:
        if getattr(settings, name) not in (SETTINGS[name].default, ""):
            pairs[_label(name)] = _shown(name, settings)
        if name == "lora" and settings.lora:
            pairs["Lora hashes"] = _lora_hashes(lora_revisions)
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in pairs.items()))
    return "\n".join(lines)


def _label(name: str) -> str:
    return str(SETTINGS[name].label)


def _shown(name: str, settings: Settings) -> str:
    """Return a setting as viewers know it."""
    value = getattr(settings, name)
    match name:
        case "scheduler":
            return SCHEDULERS[value].label
        case "clip_skip":
            return str(value + _FIRST_LAYER)
        case "prompt_2":
            return _one_line(value)
    return str(value)


def _read(name: str, text: str) -> Any:
    """Return the setting behind `_shown`. Raises `KeyError` or `ValueError` for another text."""
    match name:
        case "scheduler":
            return {scheduler.label: own for own, scheduler in SCHEDULERS.items()}[text]
        case "clip_skip":
            return int(text) - _FIRST_LAYER
    kind = SETTINGS[name].kind
    return text == "True" if kind is bool else kind(text)


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
    negative = "".join(texts[1:]).removeprefix("Negative prompt: ").removeprefix(_GUARD)
    try:
        width, _, height = pairs["Size"].partition("x")
        named = [*_ALWAYS, *(name for name in _UNUSUAL if _label(name) in pairs)]
        values = {name: _read(name, pairs[_label(name)]) for name in named}
        settings = Settings(
            prompt=texts[0].removeprefix(_GUARD),
            negative_prompt=negative,
            width=int(width),
            height=int(height),
            **{"prompt_2": None, **values},
        )
    except (KeyError, ValueError, IndexError) as error:
        raise ImageError(f"the settings inside cannot be read: {parameters[:60]!r}") from error
    return settings, pairs.get("Model", "")


def _unquoted(value: str) -> str:
    return str(json.loads(value)) if value.startswith('"') else value
