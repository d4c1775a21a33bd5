"""Whether the disk has room for what a job is about to write."""

from __future__ import annotations

import shutil
from itertools import islice

from batchgen.config.job import JobConfig
from batchgen.errors import StorageError
from batchgen.images.formats import FORMATS
from batchgen.storage.atomic import existing_parent, storage_errors
from batchgen.storage.folder import JobFolder

_ROW_BYTES = 2_000
_RESERVE_BYTES = 32 * 2**20
_SAMPLE = 200


def image_size_bytes(folder: JobFolder, config: JobConfig) -> float:
    """Return what an image takes: the mean of some that are there, else an estimate."""
    suffix = config.images.format.value
    sizes = [p.stat().st_size for p in islice(folder.root.glob(f"images/*/*.{suffix}"), _SAMPLE)]
    if sizes:
        return sum(sizes) / len(sizes)
    return config.width * config.height * FORMATS[config.images.format].bytes_per_pixel


def refuse_if_full(folder: JobFolder, config: JobConfig, n_images: int) -> None:
    """Raise `StorageError` where the images to come, with their metadata, do not fit."""
    if not n_images:
        return
    place = existing_parent(folder.root)
    with storage_errors(place):
        free = shutil.disk_usage(place).free
        size = image_size_bytes(folder, config)
    needed = int(n_images * (size + _ROW_BYTES)) + _RESERVE_BYTES
    if free < needed:
        raise StorageError(
            f"{place}: {n_images:,} images need about {needed:,} bytes and {free:,} are free. "
            "Make room, choose another output_root=, or a smaller format such as images=webp; "
            "the same command resumes it."
        )
