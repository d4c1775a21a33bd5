"""A pipeline without a model: pixels from the settings alone, and configured faults."""

from __future__ import annotations

import hashlib
import os
import resource
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from batchgen.config.models import FakeModel
from batchgen.config.setting_row import Hashed
from batchgen.config.settings import SETTINGS, Settings
from batchgen.errors import DeviceOutOfMemory, ImageError
from batchgen.pipelines.base import PLAIN, Decoding, Generation, Picture
from batchgen.plan.requests import Batch, ImageRequest

_COARSE = 8
_GRAIN = 24


class FakePipeline:
    """Makes soft colour fields with grain, which cost an encoder about what photographs do."""

    vae_is_float32 = False

    def __init__(self, model: FakeModel) -> None:
        self._model = model
        self._shapes: set[tuple[int, int, int]] = set()

    def generate(self, images: Sequence[ImageRequest], decoding: Decoding = PLAIN) -> Generation:
        """Make the pictures of one batch, or raise the configured fault."""
        started = time.perf_counter()
        self._break(images)
        salt = Batch(tuple(images)).batch_id if self._model.batch_sensitive else ""
        pictures = [
            self._picture(image, f"{salt}/{position}" if salt else "", decoding)
            for position, image in enumerate(images)
        ]
        wanted_s = self._model.batch_latency_s + self._model.latency_s * len(images)
        left_s = wanted_s - (time.perf_counter() - started)
        if left_s > 0:
            time.sleep(left_s)
        shape = len(images), images[0].settings.width, images[0].settings.height
        is_first = shape not in self._shapes
        self._shapes.add(shape)
        return Generation(
            pictures=pictures,
            encode_s=0.0,
            denoise_s=time.perf_counter() - started,
            decode_s=0.0,
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            warm_up=is_first,
        )

    def close(self) -> None:
        """Nothing is held."""

    def _break(self, images: Sequence[ImageRequest]) -> None:
        model, rows = self._model, {image.row_index for image in images}
        if model.oom_above_batch is not None and len(images) > model.oom_above_batch:
            raise DeviceOutOfMemory(
                f"Memory not enough: a batch of {len(images)} is above {model.oom_above_batch} "
                "(model.oom_above_batch)"
            )
        if rows & set(model.crash_rows):
            os.abort()
        if rows & set(model.hang_rows):
            time.sleep(10**6)
        bad = sorted(rows & set(model.fail_rows))
        if bad:
            raise ImageError(f"row {bad[0]} fails (model.fail_rows)")

    def _picture(self, image: ImageRequest, salt: str, decoding: Decoding) -> Picture:
        model, row = self._model, image.row_index
        pixels = _pixels(image, salt)
        is_nan = row in model.nan_rows or (row in model.nan_until_float32 and not decoding.float32)
        if is_nan or row in model.blank_rows:
            pixels = np.zeros_like(pixels)
        return Picture(pixels=pixels, is_finite=not is_nan)


def _pixels(image: ImageRequest, salt: str) -> NDArray[np.uint8]:
    """Return (height, width, 3) uint8 that depend on the settings, the seed and the salt only."""
    settings = image.settings
    text = f"({_text(settings)}, {salt!r})"
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    coarse = generator.integers(0, 256 - _GRAIN, (_COARSE, _COARSE, 3), dtype=np.uint8)
    size = (settings.width, settings.height)
    field = PillowImage.fromarray(coarse).resize(size, PillowImage.Resampling.BILINEAR)
    n_bytes = settings.width * settings.height * 3
    grain = np.frombuffer(generator.bytes(n_bytes), dtype=np.uint8) % np.uint8(_GRAIN)
    pixels: NDArray[np.uint8] = np.asarray(field) + grain.reshape(*reversed(size), 3)
    return pixels


def _text(settings: Settings) -> str:
    """Return settings as text; those that came later only where they are not the default."""
    values = {
        name: getattr(settings, name)
        for name, row in SETTINGS.items()
        if row.hashed is not Hashed.later or getattr(settings, name) != row.default
    }
    return f"Settings({', '.join(f'{name}={value!r}' for name, value in values.items())})"
