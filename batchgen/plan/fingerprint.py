"""Stable 64-bit hashes over whole columns: row keys, image keys, seeds and fingerprints.

Text is hashed by `pandas.util.hash_array`: SipHash-2-4 with the key `0123456789123456`, then the
finaliser of SplitMix64 (Steele, Lea, Flood 2014), which also mixes numbers in here. All is fixed
for good: seeds and fingerprints in finished jobs depend on it. A test pins known values, computed
without pandas.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchgen.config.revisions import REVISIONS
from batchgen.config.setting_row import Hashed
from batchgen.config.settings import SETTINGS

Hashes = NDArray[np.uint64]

# pyarrow's stubs do not know all array types of its functions.
_compute: Any = pc

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_HASH_KEY = "0123456789123456"
_SEPARATOR = "\x1f"
_TEXTS = [name for name, row in SETTINGS.items() if row.hashed is Hashed.text]
_WORDS = [name for name, row in SETTINGS.items() if row.hashed is Hashed.word]
_LATER = [row for row in SETTINGS.values() if row.hashed is Hashed.later]


def mix(values: Hashes) -> Hashes:
    """Return the SplitMix64 finaliser of each value: (n,) uint64."""
    x = values + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = x ^ (x >> np.uint64(31))
    return mixed


def text_hashes(texts: Any) -> Hashes:
    """Return the hash of each text's UTF-8, (n,) uint64; `texts` is an Arrow column."""
    from pandas.util import hash_array  # half a second that a finished job need not wait for

    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    objects = texts.to_numpy(zero_copy_only=False)
    return hash_array(objects, hash_key=_HASH_KEY, categorize=False)


def text_hash(text: str) -> int:
    """Return the hash of one text's UTF-8."""
    return int(text_hashes(pa.array([text]))[0])


def image_keys(row_hashes: Hashes, image_index: NDArray[np.int64]) -> Hashes:
    """Return what identifies an image in memory: its row key's hash mixed with its index."""
    return mix(row_hashes + _GOLDEN * image_index.astype(np.uint64))


def derived_seeds(
    row_hashes: Hashes, image_index: NDArray[np.int64], job_seed: int
) -> NDArray[np.int64]:
    """Return a seed below 2**32 for each image, from the job's seed, its row key and its index."""
    of_job = mix(np.array([job_seed], dtype=np.uint64))
    mixed = mix(image_keys(row_hashes, image_index) ^ of_job)
    seeds: NDArray[np.int64] = (mixed >> np.uint64(32)).astype(np.int64)
    return seeds


def settings_hashes(settings: Any) -> Hashes:
    """Return a hash for each row of resolved settings, of everything but the seed.

    Args:
        settings: Columns by the names of `Settings`, resolved; `lora` with the hash of each file
            (`lora_column.identified`).

    Texts are preceded by their lengths, so that no two different rows read the same. Adapters, and
    settings that came later, are put behind only where there is something to say: images without
    them keep the hash they had before.
    """
    texts = [_compute.fill_null(settings[name], "") for name in _TEXTS]
    parts = [_text(settings[name]) for name in _WORDS]
    parts += [_text(_compute.utf8_length(text)) for text in texts]
    joined = _compute.binary_join_element_wise(*parts, *texts, _SEPARATOR)
    joined = _with(joined, settings["lora"], _compute.not_equal(settings["lora"], ""))
    for row in _LATER:
        values = settings[row.name]
        named = _compute.binary_join_element_wise(row.name, _text(values), "=")
        joined = _with(joined, named, _compute.not_equal(values, row.default))
    for thing, number in REVISIONS.items():
        kind, _, name = thing.partition(".")
        if kind == "scheduler":
            is_meant = _compute.equal(settings["scheduler"], name)
        elif kind == "setting":
            is_meant = _compute.not_equal(settings[name], SETTINGS[name].default)
        else:
            continue
        joined = _with(joined, f"{thing}#{number}", is_meant)
    return text_hashes(joined)


def _text(values: Any) -> Any:
    return _compute.cast(values, pa.string())


def _with(joined: Any, more: Any, is_meant: Any) -> Any:
    """Return texts with `more` behind them where it is meant, and as they were elsewhere.

    No such part can be mistaken for one before it, as the lengths of those are in the text, nor for
    another: adapters hold no `=`, and later settings begin with their names.
    """
    if not _compute.any(is_meant).as_py():
        return joined
    behind = _compute.binary_join_element_wise("", more, _SEPARATOR)
    return _compute.binary_join_element_wise(joined, _compute.if_else(is_meant, behind, ""), "")


def fingerprints(hashes: Hashes, seeds: NDArray[np.int64], model_revision: str) -> Hashes:
    """Return the fingerprint of each image from its settings' hash, its seed and its model."""
    of_model = np.uint64(text_hash(model_revision))
    return mix(mix(hashes ^ of_model) + seeds.astype(np.uint64))


def as_hex(value: int) -> str:
    """Return 16 hexadecimal digits, as fingerprints stand in metadata."""
    return f"{value:016x}"


def from_hex(texts: Any) -> Hashes:
    """Return the numbers behind an Arrow column of fingerprints: (n,) uint64."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    whole = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
    joined = _compute.binary_join(whole, "")[0].as_py()
    return np.frombuffer(bytes.fromhex(joined), dtype=">u8").astype(np.uint64)
