"""The text that names an image's adapters and their weights: `film:0.5 pixel:0.8`.

A pair for each adapter, its weight behind a colon; a bare name is weight 1. Pairs are parted by
spaces or commas. `none` is no adapter, for a row of a job that has some.
"""

from __future__ import annotations

import re

from batchgen.errors import ConfigError

NONE = "none"

NAME = re.compile(r"[A-Za-z0-9_-]+")
"""No dot: it would part the keys of an override, and the names of MindSpore's cells."""

_PAIR = re.compile(rf"({NAME.pattern})(?::([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?))?")
_MOST = 100.0


def weights_of(text: str) -> dict[str, float]:
    """Return adapter name -> weight, ordered by name, so that equal sets read and add up alike.

    A weight of 0 is no adapter. Raises `ConfigError` for a text of another form.
    """
    reason = problem(text)
    if reason:
        raise ConfigError([f"lora={text!r} {reason}."])
    pairs = sorted(_pairs(text))
    return {name: weight for name, weight in pairs if weight}


def canonical(text: str) -> str:
    """Return the one text for all that mean the same; empty where no adapter is left."""
    return written(weights_of(text))


def written(weights: dict[str, float]) -> str:
    """Return weights as text, in their order; what it says reads back to the bit."""
    return " ".join(f"{name}:{_short(weight)}" for name, weight in weights.items())


def problem(text: object) -> str | None:
    """Say what is wrong with a text, apart from names that stand for nothing, or None."""
    if not isinstance(text, str):
        return "is not text such as 'pixel:0.8 film:0.5'"
    for part in _parts(text):
        match = _PAIR.fullmatch(part)
        if match is None:
            return f"has {part!r}, which is no name:weight such as pixel:0.8"
        if abs(float(match[2] or 1)) > _MOST:
            return f"has {part!r}: a weight lies between -{_MOST:g} and {_MOST:g}"
    names = [name for name, _ in _pairs(text)]
    twice = next((name for name in names if names.count(name) > 1), None)
    return None if twice is None else f"names {twice} twice"


def _pairs(text: str) -> list[tuple[str, float]]:
    split = (part.partition(":") for part in _parts(text))
    return [(name, float(weight or 1)) for name, _, weight in split]


def _parts(text: str) -> list[str]:
    parts = [part for part in re.split(r"[\s,]+", text) if part]
    return [] if parts == [NONE] else parts


def _short(weight: float) -> str:
    return str(int(weight)) if weight.is_integer() else repr(weight)
