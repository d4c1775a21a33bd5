"""The order in which memory is saved, and what each rung is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.runner.memory_ladder import Rung

RUNGS = st.builds(Rung, st.booleans(), st.none() | st.integers(1, 1024), st.booleans())


def climbed(batch_size: int) -> list[str]:
    """Return the names of the rungs that a batch goes through to the top."""
    names, rung = [], Rung()
    while (above := rung.next(batch_size)) is not None:
        rung = above
        batch_size = min(batch_size, rung.max_batch or batch_size)
        names.append(str(rung))
    return names


@pytest.mark.parametrize(
    ("batch_size", "halves"), [(2, [1]), (4, [2, 1]), (5, [3, 2, 1]), (8, [4, 2, 1])]
)
def test_ladder_is_slicing_then_half_batches_then_tiling(
    batch_size: int, halves: list[int]
) -> None:
    """Tiling may show seams, so it comes last."""
    steps = ["slicing", *(f"slicing,batch={size}" for size in halves), "slicing,batch=1,tiling"]
    assert climbed(batch_size) == steps


def test_single_image_goes_to_tiling_at_once() -> None:
    """There is nothing to slice and nothing to halve."""
    assert climbed(1) == ["slicing,batch=1,tiling"]


def test_bottom_rung_has_no_name() -> None:
    """Most images were made there."""
    assert str(Rung()) == ""
    assert Rung.from_text("") == Rung()


@given(RUNGS)
def test_rung_survives_its_name(rung: Rung) -> None:
    """Journal and metadata hold the name only."""
    assert Rung.from_text(str(rung)) == rung


def test_pipeline_is_told_what_the_rung_means() -> None:
    """The size of the batch is no business of the decoder."""
    decoding = Rung(slicing=True, max_batch=1, tiling=True).decoding(float32=True)
    assert (decoding.slicing, decoding.tiling, decoding.float32) == (True, True, True)
    assert Rung(max_batch=2).decoding() == Rung().decoding()
