"""Numbers as people write them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from batchgen.config.decimals import as_written, size_text


@pytest.mark.parametrize("text", ["7.1", "0.1", "-3.25", "1e-07", "16777216.0", "1e+20"])
def test_a_float32_is_the_decimal_it_was_read_from(text: str) -> None:
    """And a number that no float32 is stays itself."""
    assert as_written(float(np.float32(float(text)))) == float(text)
    assert as_written(0.1) == 0.1
    assert as_written(1e300) == 1e300
    assert math.isnan(as_written(math.nan))


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1.5 * 2**20, "1.5 MiB"),
        (2**40 * 1500, "1,500.0 TiB"),
    ],
)
def test_a_size_is_in_the_unit_that_fits(n_bytes: float, text: str) -> None:
    """Nobody reads millions of MiB."""
    assert size_text(n_bytes) == text
