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

Hashes = NDArray[np.uint64]

# pyarrow's stubs do not know all array types of its functions.
_compute: Any = pc

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_HASH_KEY = "0123456789123456"
_SEPARATOR = "\x1f"
_SHORT = (
    "steps", "guidance_scale", "width", "height", "scheduler", "timestep_spacing",
    "guidance_rescale", "cfg_cutoff", "clip_skip", "long_prompt", "weighting",
)  # fmt: skip
"""Settings that are numbers or words of ours."""


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

    `settings` is an Arrow table with the columns of `plan.Settings`. Texts are preceded by their
    lengths, so that no two different rows read the same.
    """
    texts = [
        settings["prompt"],
        pc.fill_null(settings["prompt_2"], ""),
        settings["negative_prompt"],
    ]
    parts = [pc.cast(settings[name], pa.string()) for name in _SHORT]
    parts += [pc.cast(pc.utf8_length(text), pa.string()) for text in texts]
    joined = pc.binary_join_element_wise(*parts, *texts, _SEPARATOR)
    return text_hashes(_with_adapters(joined, settings["lora"]))


def _with_adapters(joined: Any, loras: Any) -> Any:
    """Return texts with the adapters behind them; without any, as they were before there were any.

    The texts hold the lengths of what they are joined of, so that one more part is never mistaken.
    """
    has_any = _compute.not_equal(loras, "")
    if not _compute.any(has_any).as_py():
        return joined
    behind = _compute.if_else(has_any, _compute.binary_join_element_wise("", loras, _SEPARATOR), "")
    return _compute.binary_join_element_wise(joined, behind, "")


def fingerprints(hashes: Hashes, seeds: NDArray[np.int64], model_revision: str) -> Hashes:
    """Return the fingerprint of each image from its settings' hash, its seed and its model."""
    of_model = np.uint64(text_hash(model_revision))
    return mix(mix(hashes ^ of_model) + seeds.astype(np.uint64))


def as_hex(value: int) -> str:
    """Return 16 hexadecimal digits, as fingerprints stand in metadata."""
    return f"{value:016x}"


def from_hex(texts: Any) -> Hashes:
    """Return the numbers behind an Arrow column of fingerprints: (n,) uint64."""
    joined = "".join(texts.to_pylist())
    return np.frombuffer(bytes.fromhex(joined), dtype=">u8").astype(np.uint64)
