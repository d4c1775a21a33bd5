"""The known name that a misspelt one is nearest to."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LIKE = 0.6


def nearest(name: str, known: Iterable[str], like: float = _LIKE) -> str | None:
    """Return the known name that is most like a misspelt one, or None where none is like it."""
    names = {one.casefold(): one for one in known}
    found = get_close_matches(name.casefold(), names, n=1, cutoff=like)
    return names[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that asks for the nearest name, with a space in front, or nothing."""
    found = nearest(name, known)
    return f" Did you mean {found}?" if found else ""
