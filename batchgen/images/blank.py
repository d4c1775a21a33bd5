"""Blank pictures: black, of one colour, or not finite."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def blank_reason(pixels: NDArray[np.uint8], *, is_finite: bool) -> str | None:
    """Return why a picture counts as blank, or None; `pixels` is RGB, (height, width, 3) uint8."""
    if not is_finite:
        return "the VAE gave NaN or infinity"
    if _has_one_colour(pixels):
        colour = tuple(int(channel) for channel in pixels[0, 0])
        return "it is all black" if not any(colour) else f"it is all one colour, RGB {colour}"
    return None


def _has_one_colour(pixels: NDArray[np.uint8]) -> bool:
    """Whether all pixels are equal; a few rows, compared first, decide for nearly all pictures."""
    first = pixels[0, 0]
    few = pixels[:: max(1, len(pixels) // 8)]
    return bool((few == first).all() and (pixels == first).all())
