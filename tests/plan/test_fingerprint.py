"""The hashes that seeds and fingerprints of finished jobs depend on, held against their papers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batchgen.config.settings import Settings
from batchgen.plan.fingerprint import (
    as_hex,
    derived_seeds,
    fingerprints,
    from_hex,
    image_keys,
    mix,
    settings_hashes,
    text_hash,
    text_hashes,
)

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
KEY = b"0123456789123456"
TEXTS = ["", "a", "0", "cat", "12345678", "a cat in a hat", "猫", "🐈 naïve", "x" * 63, "x" * 1000]


def siphash(text: bytes, key: bytes = KEY) -> int:
    """SipHash-2-4 after Aumasson and Bernstein (2012), in plain Python."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D]
    v += [k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    padded = text + bytes(-(len(text) + 1) % 8) + bytes([len(text) & 0xFF])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        _rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xFF
    _rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _rounds(v: list[int], count: int) -> None:
    for _ in range(count):
        for a, b, first, second in ((0, 1, 13, 32), (2, 3, 16, 0), (0, 3, 21, 0), (2, 1, 17, 32)):
            v[a] = (v[a] + v[b]) & MASK
            v[b] = _rotated(v[b], first) ^ v[a]
            v[a] = _rotated(v[a], second)


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & MASK


def splitmix(value: int) -> int:
    """One step of SplitMix64 after Steele, Lea and Flood (2014), in plain Python."""
    return scattered((value + GOLDEN) & MASK)


def scattered(x: int) -> int:
    """The finaliser of SplitMix64."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def hashed(text: str) -> int:
    """What `pandas.util.hash_array` makes of a text: SipHash-2-4, then scattered once more."""
    return scattered(siphash(text.encode()))


def table_of(**changed: Any) -> pa.Table:
    """Return one row of resolved settings."""
    plain = Settings(prompt="a cat", prompt_2=None, seed=0, width=64, height=64)
    settings = {**dataclasses.asdict(plain), **changed}
    columns = {name: pa.array([value]) for name, value in settings.items()}
    columns["prompt_2"] = pa.array([settings["prompt_2"]], pa.string())
    return pa.table(columns)


def hash_of(**changed: Any) -> int:
    """Return the hash of one row of settings."""
    return int(settings_hashes(table_of(**changed))[0])


def test_the_test_knows_siphash() -> None:
    """The vector of the paper's appendix: 00 01 .. 0e under the key 00 01 .. 0f."""
    assert siphash(bytes(range(15)), bytes(range(16))) == 0xA129CA6149BE45E5


def test_the_test_knows_splitmix() -> None:
    """The first numbers of the reference program, seeded with 1234567."""
    state, numbers = 1234567, []
    for _ in range(3):
        numbers.append(splitmix(state))
        state = (state + GOLDEN) & MASK
    assert numbers == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_texts_are_hashed_with_the_scattered_siphash_of_their_utf_8() -> None:
    """A pandas that hashes otherwise would give every job other seeds."""
    assert text_hashes(pa.array(TEXTS)).tolist() == [hashed(text) for text in TEXTS]
    assert text_hash("a cat") == hashed("a cat")


def test_a_column_in_chunks_is_hashed_like_one_in_one_piece() -> None:
    """Slices and chunks are views of the same texts."""
    whole = text_hashes(pa.array(TEXTS)).tolist()
    assert text_hashes(pa.chunked_array([TEXTS[:3], TEXTS[3:]])).tolist() == whole
    assert text_hashes(pa.array(TEXTS).slice(2, 4)).tolist() == whole[2:6]
    assert text_hashes(pa.array([], pa.string())).tolist() == []


def test_numbers_are_mixed_with_splitmix() -> None:
    """Both ends of the range included."""
    values = [0, 1, 2**32, 2**63, MASK]
    assert mix(np.array(values, dtype=np.uint64)).tolist() == [splitmix(x) for x in values]


def test_an_image_is_known_by_its_row_key_and_index() -> None:
    """The key in memory is the row key's hash, moved by the index and mixed."""
    keys = image_keys(text_hashes(pa.array(["a", "a", "b"])), np.array([0, 3, 0]))
    moved = [(hashed(key) + GOLDEN * n) & MASK for key, n in (("a", 0), ("a", 3), ("b", 0))]
    assert keys.tolist() == [splitmix(x) for x in moved]


def test_a_derived_seed_is_the_upper_half_of_the_mixed_key_and_job_seed() -> None:
    """Below 2**32, and another for each job seed, row and index."""
    hashes = text_hashes(pa.array(["a", "a", "b"]))
    for job_seed in (0, 1, 2**63 - 1):
        seeds = derived_seeds(hashes, np.array([0, 1, 0]), job_seed)
        keys = image_keys(hashes, np.array([0, 1, 0])).tolist()
        assert seeds.tolist() == [splitmix(key ^ splitmix(job_seed)) >> 32 for key in keys]
    assert seeds.dtype == np.int64


def test_seeds_of_the_first_rows_of_any_table_are_pinned() -> None:
    """Row keys 0, 1, 2 under job seed 0: finished datasets rest on these three numbers."""
    seeds = derived_seeds(text_hashes(pa.array(["0", "1", "2"])), np.zeros(3, dtype=np.int64), 0)
    assert seeds.tolist() == [3880506210, 990836433, 16511960]


def test_settings_are_hashed_as_lengths_and_texts_in_a_fixed_order() -> None:
    """Spelt out here, so that a change of the order or of a number's form shows."""
    spelt = "20|7.5|64|64|euler|model|0|1|0|cut|false|5|0|6|a cat||blurry".replace("|", "\x1f")
    assert hash_of(negative_prompt="blurry") == hashed(spelt)
    assert hash_of(negative_prompt="blurry", lora="a@1:2") == hashed(f"{spelt}\x1fa@1:2")


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "a cat "},
        {"prompt_2": "a cat"},
        {"negative_prompt": "a"},
        {"steps": 21},
        {"guidance_scale": 7.500001},
        {"width": 72},
        {"height": 72},
        {"scheduler": "ddim"},
        {"timestep_spacing": "trailing"},
        {"guidance_rescale": 0.7},
        {"cfg_cutoff": 0.5},
        {"clip_skip": 1},
        {"long_prompt": "chunk"},
        {"weighting": True},
        {"lora": "pixel@0123456789abcdef:0.5"},
        {"width": 72, "height": 64},
    ],
)
def test_every_setting_counts_in_the_hash(changed: dict[str, Any]) -> None:
    """An edit of any of them is another image."""
    assert hash_of(**changed) != hash_of()


def test_no_text_can_pass_for_the_next() -> None:
    """A separator inside a prompt moves nothing from one field to another."""
    assert hash_of(prompt="a\x1fb", negative_prompt="c") != hash_of(
        prompt="a", prompt_2="b", negative_prompt="c"
    )
    assert hash_of(prompt="a\x1f", negative_prompt="b") != hash_of(
        prompt="a", negative_prompt="\x1fb"
    )


def test_a_whole_guidance_scale_is_hashed_the_same_as_its_float() -> None:
    """5 and 5.0 are one number once they are a column of doubles."""
    spelt = "20|5|64|64|euler|model|0|1|0|cut|false|5|0|0|a cat||".replace("|", "\x1f")
    assert hash_of(guidance_scale=5.0) == hashed(spelt)


def test_a_fingerprint_holds_settings_seed_and_model() -> None:
    """Another of any is another fingerprint, by the formula spelt out here."""
    settings, seeds = np.array([5, 5, 6], dtype=np.uint64), np.array([0, 1, 0])
    expected = [
        splitmix((splitmix(int(h) ^ hashed("rev")) + int(s)) & MASK)
        for h, s in zip(settings, seeds, strict=True)
    ]
    assert fingerprints(settings, seeds, "rev").tolist() == expected
    assert len({*expected, *fingerprints(settings, seeds, "other").tolist()}) == 6


def test_fingerprints_stand_in_metadata_as_16_digits_and_come_back() -> None:
    """Leading zeros are kept."""
    values = [0, 1, MASK]
    texts = [as_hex(value) for value in values]
    assert texts == ["0" * 16, "0" * 15 + "1", "f" * 16]
    assert from_hex(pa.array(texts)).tolist() == values
    assert from_hex(pa.array([], pa.string())).tolist() == []
