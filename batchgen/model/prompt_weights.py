r"""Weights in a prompt: `a (red:1.3) cat` as pieces of text, each with its weight.

The syntax of AUTOMATIC1111's web UI: `(x)` multiplies the weight of x by 1.1, `[x]` divides it by
1.1, `(x:1.3)` multiplies it by 1.3; they nest, `\(` and the like stand for the bracket itself, and
what is not closed goes on to the end. Not read: `[a:b:10]`, `[a|b]`, `BREAK`, `<lora:...>`.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

STEP = 1.1
"""What a pair of brackets without a number multiplies or divides by."""

MOST = 10.0
"""Weights beyond this, of either sign, are taken for it: they would end in infinity."""

_PARTS = re.compile(
    r"\\(?P<literal>[\\()\[\]]?)|(?P<open>[(\[])|:\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)"
    r"|(?P<close>[)\]])|(?P<text>:|[^\\()\[\]:]+)"
)
_PARTNER = {")": "(", "]": "["}
_FACTOR = {"(": STEP, "[": 1 / STEP}


class Piece(NamedTuple):
    """A stretch of a prompt of one weight."""

    text: str
    weight: float


def pieces(prompt: str) -> list[Piece]:
    """Return a prompt in pieces, neighbours of different weights; none of an empty prompt.

    A closing bracket without its partner is text, and so is a number outside of round brackets.
    """
    texts: list[str] = []
    weights: list[float] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def weigh(bracket: str, factor: float) -> None:
        first = opened[bracket].pop()
        weights[first:] = [_clamped(weight * factor) for weight in weights[first:]]

    for part in _PARTS.finditer(prompt):
        kind = part.lastgroup or ""
        if kind == "open":
            opened[part[0]].append(len(texts))
        elif kind == "weight" and opened["("]:
            weigh("(", float(part["weight"]))
        elif kind == "close" and opened[_PARTNER[part[0]]]:
            weigh(_PARTNER[part[0]], _FACTOR[_PARTNER[part[0]]])
        else:
            texts.append(part["literal"] if kind == "literal" else part[0])
            weights.append(1.0)
    for bracket, starts in opened.items():
        for _ in list(starts):
            weigh(bracket, _FACTOR[bracket])
    return _joined(texts, weights)


def _clamped(weight: float) -> float:
    return min(max(weight, -MOST), MOST)


def _joined(texts: list[str], weights: list[float]) -> list[Piece]:
    both = ((text, weight) for text, weight in zip(texts, weights, strict=True) if text)
    runs = itertools.groupby(both, key=lambda pair: pair[1])
    return [Piece("".join(text for text, _ in run), weight) for weight, run in runs]
