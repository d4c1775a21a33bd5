"""Pictures in the one format that an evaluator opens, where the job has another."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image as PillowImage

from batchgen.export.samples import Sample

QUALITY = 95
_COMPRESSION = 1
"""Higher levels take longer and save a few per cent."""


def as_png(sample: Sample) -> bytes:
    """Return an image as a PNG file: its own bytes where it is one, else the same pixels."""
    if sample.entry.suffix == ".png":
        return sample.content
    return _png(_opened(sample))


def as_jpeg(sample: Sample) -> bytes:
    """Return an image as a JPEG file: its own bytes where it is one, else encoded anew."""
    if sample.entry.suffix in (".jpeg", ".jpg"):
        return sample.content
    buffer = io.BytesIO()
    _opened(sample).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def quartered(samples: Sequence[Sample]) -> bytes:
    """Return four images of one size as one PNG file: two above, two below."""
    pictures = [_opened(sample) for sample in samples]
    width, height = pictures[0].size
    grid = PillowImage.new("RGB", (2 * width, 2 * height))
    for place, picture in enumerate(pictures):
        grid.paste(picture, (place % 2 * width, place // 2 * height))
    return _png(grid)


def _opened(sample: Sample) -> PillowImage.Image:
    return PillowImage.open(io.BytesIO(sample.content)).convert("RGB")


def _png(picture: PillowImage.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()
