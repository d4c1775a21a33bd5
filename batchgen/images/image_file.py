"""Pictures to image files, written whole or not at all, and back."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.Image import DecompressionBombError

from batchgen.config.job import ImagesConfig
from batchgen.images.formats import COMMENT_CODE, EXIF_IFD, FORMATS, USER_COMMENT
from batchgen.storage.atomic import storage_errors, write_atomically


@dataclass(frozen=True, slots=True)
class Saved:
    """An image that is on disk."""

    pixel_sha256: str
    file_sha256: str
    size_bytes: int


def save(path: Path, pixels: NDArray[np.uint8], parameters: str, config: ImagesConfig) -> Saved:
    """Write a picture with its settings inside; the same picture gives the same bytes.

    The file appears whole, synced to disk, or not at all; its folder is made where it is missing,
    but not the one above, which is gone if a job's folder was moved away. Raises `StorageError`.
    """
    content = encode(pixels, parameters, config)
    with storage_errors(path):
        path.parent.mkdir(exist_ok=True)
    write_atomically(path, content)
    return Saved(
        pixel_sha256=pixel_sha256(pixels),
        file_sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


def pixel_sha256(pixels: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of the RGB bytes, row by row; it outlives versions of the encoder."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def encode(pixels: NDArray[np.uint8], parameters: str, config: ImagesConfig) -> bytes:
    """Return the bytes of an image file; `pixels` is RGB, (height, width, 3) uint8."""
    return FORMATS[config.format].encode(PillowImage.fromarray(pixels), parameters, config)


def parameters_of(path: Path) -> str | None:
    """Return the settings text inside an image file, None if there is none.

    Raises `OSError` for a file that does not open as an image.
    """
    with opened(path) as picture:
        if picture.format == "PNG":
            picture.load()
            text = getattr(picture, "text", {}).get("parameters")
            return None if text is None else str(text)
        comment = picture.getexif().get_ifd(EXIF_IFD).get(USER_COMMENT)
        if not isinstance(comment, bytes):
            return None
        return comment.removeprefix(COMMENT_CODE).decode("utf-16-be")


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Return an image file's pixels: RGB, (height, width, 3) uint8.

    Raises `OSError` for a file that does not open as an image.
    """
    with opened(path) as picture:
        return np.asarray(picture.convert("RGB"))


@contextmanager
def opened(path: Path) -> Iterator[PillowImage.Image]:
    """Yield an image file as Pillow's image; what a damaged one raises becomes an `OSError`."""
    try:
        with PillowImage.open(path) as picture:
            yield picture
    except (SyntaxError, ValueError, EOFError, struct.error, DecompressionBombError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
