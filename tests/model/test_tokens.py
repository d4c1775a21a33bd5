"""Tokens counted without a model: the same number as the tokenizer that encodes gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.model.tokens import counter

Count = Callable[[Sequence[str]], list[int]]

PROMPTS = [
    "",
    "a red cat",
    "A Red CAT, (masterpiece:1.2), it's 8k!!",
    "don't they'll I'M",
    "城市夜景 🌃 a",
    "naïve\u0301 مرحبا",
    "a\x00b\ufffdc\u200bd\tn\r\n",
    "<|endoftext|> a <|startoftext|>a",
    "３½²Ⅷ",
    "İstanbul ẞ ﬁ",
    "e\u0301 \u212b",
]
"""Case, digits, apostrophes, other scripts, marks in the text, composed and control characters."""


@pytest.fixture(scope="module")
def count(clip_folder: Path) -> Count:
    """The counter of that vocabulary."""
    return counter(clip_folder)


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> Any:
    """The tokenizer that the pipeline encodes with."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer(str(clip_folder / "vocab.json"), str(clip_folder / "merges.txt"))


def test_words_of_the_vocabulary_are_one_token_and_others_are_spelt(count: Count) -> None:
    """As many letters as it has, for a word that is not there."""
    assert count(["a red cat", "dog", ""]) == [3, 3, 0]


def test_weights_are_no_tokens_where_they_are_read(clip_folder: Path) -> None:
    """And a word that a weight parts is two."""
    texts = ["a (red:1.2) cat", "(re)d", ""]
    assert counter(clip_folder, weighted=True)(texts) == [3, 3, 0]
    assert counter(clip_folder)(texts)[0] > 3


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_has_the_tokens_that_the_pipeline_sees(
    prompt: str, count: Count, clip: Any
) -> None:
    """Prompts with something odd in them."""
    assert count([prompt]) == [len(clip(prompt, add_special_tokens=False).input_ids)]


ASSIGNED = st.characters(exclude_categories=("Cn", "Co", "Cs"), max_codepoint=0x9FFF)
"""What the tables of Unicode in Python and in Rust agree on; the planes above change yearly."""


@given(st.text(ASSIGNED, max_size=60))
def test_any_text_has_the_tokens_that_the_pipeline_sees(count: Count, clip: Any, text: str) -> None:
    """Whatever the script."""
    (found,) = count([text])
    assert found == len(clip(text, add_special_tokens=False, verbose=False).input_ids)
