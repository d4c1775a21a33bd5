"""Counts in words."""

from __future__ import annotations

import pytest

from batchgen.config.counts import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1200, "1,200 images")]
)
def test_a_noun_agrees_with_its_number(number: int, text: str) -> None:
    """One image is no images."""
    assert counted(number, "image") == text
