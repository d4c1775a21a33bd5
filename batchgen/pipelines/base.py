"""What a pipeline is: what the runner hands it, what it returns, and what it may raise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from batchgen.adapters.adapter import Adapter
from batchgen.plan.requests import ImageRequest


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the VAE decodes: the rungs of the memory ladder, and the cure for NaN."""

    slicing: bool = False
    """One latent at a time."""
    tiling: bool = False
    """One tile of a latent at a time; may show seams."""
    float32: bool = False
    """The VAE in float32, whatever its own type."""


PLAIN = Decoding()
"""The model's own settings."""


NO_ADAPTERS: Mapping[str, Adapter] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Picture:
    """The pixels of one image, on the host."""

    pixels: NDArray[np.uint8]
    """RGB, (height, width, 3) uint8."""
    is_finite: bool
    """False if there was a NaN or an infinity before rounding."""
    token_count: int | None = None
    """Tokens of the prompt, without the two marks; None where nothing was counted."""
    truncated: bool | None = None
    """Whether the end of any of the image's texts was not seen."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What one call of a pipeline gave: a picture for each image, in their order."""

    pictures: list[Picture]
    encode_s: float
    """Seconds spent on text embeddings; 0 where all were kept from earlier."""
    denoise_s: float
    decode_s: float
    peak_memory_bytes: int
    """Most device memory in use during the call; on a CPU, of the process."""
    warm_up: bool = False
    """The pipeline's first call of this shape, which kernels are compiled and memory taken for."""


class Pipeline(Protocol):
    """A loaded model. The runner owns it, calls it from one thread, and closes it once.

    `generate` is called with images that agree in steps, size, scheduler, adapters (`lora`) and all
    of guidance (which is on where `guidance_scale > 1`). Each image's noise comes from its own
    `numpy.random.Generator`, made from its seed, and adapters of one call do not affect the
    next, so that an image never depends on what was made before it. Results are on the host and
    every error of the batch has been raised when the call returns. May raise
    `DeviceOutOfMemory`, `DeviceLost`, and anything else for a batch that cannot be made; after an
    exception the pipeline must be usable again, save after `DeviceLost`.
    """

    vae_is_float32: bool
    """Whether the VAE computes in float32 anyhow, so that `Decoding.float32` changes nothing."""

    def generate(self, images: Sequence[ImageRequest], decoding: Decoding = PLAIN) -> Generation:
        """Make the pictures of one batch."""
        ...

    def close(self) -> None:
        """Give the device's memory back; no call follows."""
        ...
