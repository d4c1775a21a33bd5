"""How many of something, in words."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 image`, `1,200 finished images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
