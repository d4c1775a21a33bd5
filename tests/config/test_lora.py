"""The text that names adapters and their weights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.config import lora
from batchgen.errors import ConfigError

NAMES = st.from_regex(lora.NAME, fullmatch=True).filter(lambda name: name != lora.NONE)
WEIGHTS = st.floats(-100, 100, allow_nan=False)


@pytest.mark.parametrize(
    "text",
    ["pixel:0.8 film:0.5", "film:0.5,pixel:0.8", " pixel:.8 ,  film:5e-1 ", "film:+0.5 pixel:0.80"],
)
def test_order_and_spelling_make_no_difference(text: str) -> None:
    """Equal sets of adapters share batches and fingerprints."""
    assert lora.canonical(text) == "film:0.5 pixel:0.8"


def test_a_bare_name_is_weight_1() -> None:
    """As a web UI has it."""
    assert lora.canonical("pixel film:2") == "film:2 pixel:1"


@pytest.mark.parametrize("text", ["", "  ", "none", "pixel:0", "pixel:-0.0"])
def test_no_adapter_has_one_form(text: str) -> None:
    """A weight of 0 computes what the base computes, so it is the base."""
    assert lora.canonical(text) == ""


@given(st.dictionaries(NAMES, WEIGHTS, max_size=4))
def test_what_is_written_reads_back_to_the_bit(weights: dict[str, float]) -> None:
    """Weights are floats, and metadata is what `repro` goes by."""
    expected = {name: weight for name, weight in sorted(weights.items()) if weight}
    assert lora.weights_of(lora.written(weights)) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pixel:much", "has 'pixel:much', which is no name:weight"),
        ("pixel:", "has 'pixel:', which is no name:weight"),
        ("<lora:pixel:1>", "has '<lora:pixel:1>', which is no name:weight"),
        ("pixel:nan", "has 'pixel:nan', which is no name:weight"),
        ("pixel:101", "has 'pixel:101': a weight lies between -100 and 100"),
        ("pixel:0.5 film pixel", "names pixel twice"),
    ],
)
def test_a_text_of_another_form_is_refused(text: str, reason: str) -> None:
    """The message names the part that is wrong."""
    with pytest.raises(ConfigError, match=f"lora={text!r} .*") as refused:
        lora.weights_of(text)
    assert reason in str(refused.value)
