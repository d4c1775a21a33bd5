"""The `parameters` text inside an image file: the settings as viewers read them, and back."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from batchgen.config.decimals import as_written
from batchgen.config.schedulers import SCHEDULERS
from batchgen.config.settings import SETTINGS, Settings
from batchgen.errors import ImageError

RNG = "numpy-PCG64"
"""Where the noise comes from, as metadata and `parameters` name it."""

_PAIR = re.compile(r'([\w ]+): ("(?:\\.|[^\\"])*"|[^,]*)(?:, |$)')
_GUARD, _NEGATIVE = "\u200b", "Negative prompt:"
"""Zero-width space: keeps a line that begins like the negative prompt from being read as it."""
_GUARDED = re.compile(f"{_GUARD}+{_NEGATIVE}")
_LIKE_NEGATIVE = re.compile(f"\\s*{_GUARD}*{_NEGATIVE}")
_EXACT = {"prompt": "Exact prompt", "negative_prompt": "Exact negative prompt"}
"""Keys of texts that the lines do not give back exactly, as JSON."""
_SINGLE = "Single precision"
"""Key of the labels of numbers that came from a float32; 7.1 is 7.099999904632568 then."""
_FIRST_LAYER = 2
"""Viewers count layers from the last, 1; SDXL's own, which diffusers calls 0, is the one before."""
_FLOATS = [name for name, row in SETTINGS.items() if row.kind is float and row.label]
_ALWAYS = ("steps", "scheduler", "guidance_scale", "seed")
"""Settings that every text names, in the order of the web UI."""
_UNUSUAL = [
    name
    for name in dict.fromkeys(("prompt_2", "clip_skip", *SETTINGS))
    if SETTINGS[name].label and name not in _ALWAYS
]
"""Settings that are named where they are not the default, in the order of 0.1.0."""
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\u0085\u2028\u2029]+")
_LINE_BREAK = re.compile(r"\r\n?")


def parameters_text(
    settings: Settings, model: str, model_revision: str, lora_revisions: str = ""
) -> str:
    """Return the settings as viewers of generated images read them.

    The prompt, the negative prompt if there is one, a last line of `Key: value` pairs; the format
    of AUTOMATIC1111's web UI, whose reader strips each line. Control characters become spaces, and
    a line of a prompt that begins like the negative one is guarded, so that no prompt can pass for
    settings. What a prompt loses by that stands in a pair of its own.
    """
    lines = _lines(settings.prompt)
    if settings.negative_prompt:
        first, *rest = _lines(settings.negative_prompt)
        lines += [f"{_NEGATIVE} {first}", *rest]
    read = dict(zip(_EXACT, _texts(lines), strict=True))
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
    single = [_label(name) for name in _FLOATS if _is_single(getattr(settings, name))]
    pairs |= {_SINGLE: ", ".join(label for label in single if label in pairs)} if single else {}
    pairs |= {
        key: getattr(settings, name)
        for name, key in _EXACT.items()
        if _is_lost(name, settings, read)
    }
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
            return str(value)
    return str(as_written(value) if isinstance(value, float) else value)


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


def _lines(text: str) -> list[str]:
    """Return the lines of a prompt, none of which begins like the negative prompt."""
    lines = _CONTROL.sub(" ", _LINE_BREAK.sub("\n", text)).strip().split("\n")
    return [f"{_GUARD}{line.lstrip()}" if _LIKE_NEGATIVE.match(line) else line for line in lines]


def _texts(lines: list[str]) -> tuple[str, str]:
    """Return prompt and negative prompt, read as the web UI does, and without our guards."""
    texts: list[list[str]] = [[], []]
    is_negative = False
    for line in map(str.strip, lines):
        of_negative = line.removeprefix(_NEGATIVE)
        is_negative |= of_negative != line
        words = of_negative.strip()
        words = words.removeprefix(_GUARD) if _GUARDED.match(words) else words
        if words or texts[is_negative]:
            texts[is_negative].append(words)
    prompt, negative = ("\n".join(one) for one in texts)
    return prompt, negative


def _is_lost(name: str, settings: Settings, read: dict[str, str]) -> bool:
    """Whether the lines say another text than the setting is."""
    return read[name] != (getattr(settings, name) or "")


def _is_single(value: Any) -> bool:
    return isinstance(value, float) and as_written(value) != value


def _quoted(value: str) -> str:
    if not any(character in value for character in ',:\n"') and not _CONTROL.search(value):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return _CONTROL.sub(lambda found: json.dumps(found[0])[1:-1], text)


def settings_of(parameters: str) -> tuple[Settings, str]:
    """Return the settings and the model's name behind a `parameters` text of ours.

    In pictures of version 0.1.0 line breaks in a prompt became spaces. Raises `ImageError` for a
    text that says too little, or a number that no image can have.
    """
    *lines, last = parameters.split("\n")
    prompt, negative = _texts(lines)
    try:
        pairs = {key: _unquoted(value) for key, value in _PAIR.findall(last)}
        width, _, height = pairs["Size"].partition("x")
        named = [*_ALWAYS, *(name for name in _UNUSUAL if _label(name) in pairs)]
        values = {name: _read(name, pairs[_label(name)]) for name in named}
        single = pairs.get(_SINGLE, "").split(", ")
        values |= {n: float(np.float32(values[n])) for n in named if _label(n) in single}
        settings = Settings(
            prompt=pairs.get(_EXACT["prompt"], prompt),
            negative_prompt=pairs.get(_EXACT["negative_prompt"], negative),
            width=int(width),
            height=int(height),
            **{"prompt_2": None, **values},
        )
    except (KeyError, ValueError, IndexError) as error:
        raise ImageError(f"the settings inside cannot be read: {parameters[:60]!r}") from error
    for name, row in SETTINGS.items():
        value = getattr(settings, name)
        if row.kind is not str and (problem := row.problem(value)):
            raise ImageError(f"the settings inside cannot be used: {name}={value!r} {problem}")
    return settings, pairs.get("Model", "")


def _unquoted(value: str) -> str:
    return str(json.loads(value)) if value.startswith('"') else value
