"""Weights in prompts: the syntax people bring along, and every text that only looks like it."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.model.prompt_weights import MOST, STEP, pieces

TEXTS = st.text(alphabet=st.sampled_from("ab ,:.1é猫\\()[]"), max_size=40)
PLAIN = st.text(alphabet=st.sampled_from("ab ,.1é猫:"), min_size=1, max_size=20)


def escaped(text: str) -> str:
    """Return a text that stands for itself."""
    return re.sub(r"([\\()\[\]])", r"\\\1", text)


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("", []),
        ("a cat", [("a cat", 1)]),
        ("a (red:1.3) cat", [("a ", 1), ("red", 1.3), (" cat", 1)]),
        ("a (red) cat", [("a ", 1), ("red", 1.1), (" cat", 1)]),
        ("a [red] cat", [("a ", 1), ("red", 1 / 1.1), (" cat", 1)]),
        ("((red))", [("red", 1.1**2)]),
        ("(a (red:1.5) cat:0.5)", [("a ", 0.5), ("red", 0.75), (" cat", 0.5)]),
        (r"a cat \(red\)", [("a cat (red)", 1)]),
        (r"(a \(red\) cat:2)", [("a (red) cat", 2)]),
        ("(a", [("a", 1.1)]),
        ("(a [b", [("a ", 1.1), ("b", 1.1 / 1.1)]),
        ("a) b] c", [("a) b] c", 1)]),
        ("a ratio of 3:2)", [("a ratio of 3:2)", 1)]),
        ("(12:30:1.2)", [("12:30", 1.2)]),
        ("(a: -0.5 )", [("a", -0.5)]),
        ("(a:b)", [("a:b", 1.1)]),
        ("()", []),
    ],
)
def test_weights_are_read_as_web_uis_read_them(
    prompt: str, wanted: list[tuple[str, float]]
) -> None:
    """Nested, escaped, unclosed, and what is only punctuation."""
    assert [piece.text for piece in pieces(prompt)] == [text for text, _ in wanted]
    weights = [weight for _, weight in wanted]
    assert [piece.weight for piece in pieces(prompt)] == pytest.approx(weights)


@given(TEXTS)
def test_any_text_is_read(text: str) -> None:
    """Pieces are never empty, weights never infinite, and neighbours differ."""
    found = pieces(text)
    assert all(piece.text and abs(piece.weight) <= MOST for piece in found)
    assert all(math.isfinite(piece.weight) for piece in found)
    assert all(a.weight != b.weight for a, b in itertools.pairwise(found))


@given(st.text(max_size=40))
def test_an_escaped_text_stands_for_itself(text: str) -> None:
    """Whatever is in it."""
    assert pieces(escaped(text)) == ([(text, 1.0)] if text else [])


@given(TEXTS)
def test_only_brackets_backslashes_and_weights_are_taken_out(text: str) -> None:
    """What is left stands in the text, in its order."""
    left = iter(text)
    assert all(letter in left for piece in pieces(text) for letter in piece.text)


@given(PLAIN, st.floats(-MOST, MOST))
def test_a_number_is_the_weight(text: str, weight: float) -> None:
    """Any that can be written without an exponent."""
    (piece,) = pieces(f"({text}:{weight:.6f})")
    assert piece.text == text
    assert piece.weight == pytest.approx(weight, abs=1e-6)


@given(PLAIN.filter(lambda text: ":" not in text), st.integers(0, 20), st.booleans())
def test_each_pair_of_brackets_is_a_step(text: str, depth: int, is_up: bool) -> None:
    """Up in round ones and down in square ones."""
    left, right = "()" if is_up else "[]"
    (piece,) = pieces(left * depth + text + right * depth)
    assert piece.text == text
    assert piece.weight == pytest.approx(STEP ** (depth if is_up else -depth))


def test_a_forest_of_brackets_takes_no_time() -> None:
    """A broken prompt of the longest kind neither hangs nor overflows."""
    (piece,) = pieces("(" * 4000 + "a" + ")" * 4000)
    assert piece == ("a", MOST)
