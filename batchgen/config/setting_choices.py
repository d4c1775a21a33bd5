"""The words of settings that have few."""

from __future__ import annotations

from enum import Enum


class TimestepSpacing(str, Enum):
    """How a scheduler spreads its steps over the noise schedule; `model` is the model's own way."""

    model = "model"
    leading = "leading"
    linspace = "linspace"
    trailing = "trailing"


class LongPrompt(str, Enum):
    """What becomes of a prompt of more tokens than a text encoder takes, 75 and two marks."""

    cut = "cut"
    chunk = "chunk"
