"""Whether the disk has room for what a job is about to write."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from batchgen.config.counts import counted
from batchgen.config.decimals import size_text
from batchgen.config.job import JobConfig
from batchgen.errors import StorageError
from batchgen.images.formats import FORMATS
from batchgen.plan.backlog import Backlog
from batchgen.storage.atomic import existing_parent, storage_errors
from batchgen.storage.folder import JobFolder

_ROW_BYTES = 2_000
_RESERVE_BYTES = 32 * 2**20
_SAMPLE = 200


@dataclass(frozen=True, slots=True)
class Average:
    """What an image of a job has, on the average over those to be made."""

    n_pixels: float
    own_bytes: float
    """Bytes of the table's own columns in its row."""

    @classmethod
    def of(cls, backlog: Backlog) -> Average:
        """Return the average of a backlog with work in it."""
        n_images = backlog.n_pending
        return cls(backlog.n_pixels / n_images, backlog.own_bytes / n_images)


def needed_bytes(
    folder: JobFolder, config: JobConfig, n_images: int, average: Average | None = None
) -> int:
    """Return what images to come take on the disk, with their rows.

    Their size goes by those of the format that are there, else by an estimate.

    Args:
        folder: The job's.
        config: The job's.
        n_images: How many are to come.
        average: Of those; None for images of the job's own size without further columns.
    """
    average = average or Average(config.width * config.height, 0)
    a_pixel = _bytes_a_pixel(folder, config)
    # Parts and the metadata that they are merged into are there at the same time.
    return int(n_images * (average.n_pixels * a_pixel + _ROW_BYTES + 2 * average.own_bytes))


def _bytes_a_pixel(folder: JobFolder, config: JobConfig) -> float:
    suffix = config.images.format.value
    n_bytes = n_pixels = 0
    for path in islice(folder.root.glob(f"images/*/*.{suffix}"), _SAMPLE):
        pixels = _pixels_in(path)
        n_bytes += path.stat().st_size if pixels else 0
        n_pixels += pixels
    return n_bytes / n_pixels if n_pixels else FORMATS[config.images.format].bytes_per_pixel


def _pixels_in(path: Path) -> int:
    """Return the pixels of an image file by its header; 0 where it is damaged."""
    try:
        with Image.open(path) as image:
            return image.width * image.height
    except (OSError, ValueError, Image.DecompressionBombError):
        return 0


def refuse_if_full(
    folder: JobFolder, config: JobConfig, n_images: int, average: Average | None = None
) -> None:
    """Raise `StorageError` where the images to come do not fit; arguments as of `needed_bytes`."""
    if not n_images:
        return
    place = existing_parent(folder.root)
    with storage_errors(place):
        free = shutil.disk_usage(place).free
        needed = needed_bytes(folder, config, n_images, average) + _RESERVE_BYTES
    if free < needed:
        reserve = size_text(_RESERVE_BYTES)
        raise StorageError(
            f"{place}: {counted(n_images, 'image')} to come need about {size_text(needed)}, "
            f"{reserve} of it in reserve, and {size_text(free)} are free. Make room, or choose "
            "another output_root= or a smaller format, as images=webp; the same command resumes it."
        )
