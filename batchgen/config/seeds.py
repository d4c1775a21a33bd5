"""The seeds of a job, as a list or as a range in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from batchgen.config.settings import SEED_LIMIT, SETTINGS

_RANGE = re.compile(r"\s*(\d+)\s*\.\.\s*(\d+)\s*")
_MOST = 1_000_000
_FORM = "is neither a list such as [1,2,3] nor a range such as 0..99"


def plain(seeds: Any) -> Any:
    """Return numpy's arrays and integers as Python's; other values as they are."""
    if hasattr(seeds, "tolist"):
        return seeds.tolist()
    if isinstance(seeds, (list, tuple)):
        return [seed.item() if hasattr(seed, "item") else seed for seed in seeds]
    return seeds


def values(seeds: Any) -> Sequence[int] | None:
    """Return the numbers of `[1, 2, 3]` or of `0..99`, both ends included; None for None."""
    if seeds is None:
        return None
    if isinstance(seeds, str) and (match := _RANGE.fullmatch(seeds)):
        return range(int(match[1]), int(match[2]) + 1)
    return list(seeds)


def problem(seeds: Any, images_per_prompt: int) -> str | None:
    """Say what is wrong with a job's seeds, or None."""
    if seeds is None:
        return None
    if isinstance(seeds, str):
        match = _RANGE.fullmatch(seeds)
        if match is None:
            return _FORM
        ends = [int(match[1]), int(match[2])]
        return _numbers_problem(ends, ends[1] - ends[0] + 1, images_per_prompt)
    if not isinstance(seeds, (list, tuple, range)):
        return _FORM
    numbers = list(seeds[: _MOST + 1])
    if len({*map(repr, numbers)}) < len(numbers):
        return "holds a seed twice"
    return _numbers_problem(numbers, len(numbers), images_per_prompt)


def _numbers_problem(numbers: Sequence[object], n_seeds: int, images_per_prompt: int) -> str | None:
    if n_seeds < 1:
        return "holds no seed"
    if any(SETTINGS["seed"].problem(number) for number in numbers):
        return f"holds something that is not a whole number from 0 to {SEED_LIMIT - 1}"
    if n_seeds > _MOST:
        return f"holds more than {_MOST:,} seeds"
    if images_per_prompt != 1:
        return "does not go together with images_per_prompt above 1: each seed is one image"
    return None
