"""The command that flips bits and looks whether `batchgen verify` sees them."""

from __future__ import annotations

from pathlib import Path

from tools.bit_flips import Fate, fates, flip

N_FLIPS = 30


def test_every_flipped_bit_is_accounted_for(tmp_path: Path) -> None:
    """In files of all three kinds; in a part or journal most damage is found."""
    found = fates(tmp_path, N_FLIPS, 1)
    assert {kind: counts.total() for kind, counts in found.items()} == dict.fromkeys(
        ("metadata.parquet", "part", "journal"), N_FLIPS // 3
    )
    assert found["journal"][Fate.found] > N_FLIPS // 6
    assert found["metadata.parquet"][Fate.found] > 0


def test_a_bit_that_is_flipped_twice_is_what_it_was(tmp_path: Path) -> None:
    """And once, it differs in that bit alone."""
    path = tmp_path / "file"
    path.write_bytes(b"\x00\x01\x00")
    flip(path, 9)
    assert path.read_bytes() == b"\x00\x03\x00"
    flip(path, 9)
    assert path.read_bytes() == b"\x00\x01\x00"
