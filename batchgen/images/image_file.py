"""Pictures to files: encode, put the settings inside, write atomically; find blank ones."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from batchgen.config.job import ImageFormat, ImagesConfig
from batchgen.errors import ImageError
from batchgen.storage.atomic import storage_errors, write_atomically

if TYPE_CHECKING:
    pass

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_EXIF_LIMIT_BYTES = 65_000


@dataclass(frozen=True, slots=True)
class Saved:
    """An image that is on disk."""

    pixel_sha256: str
    file_sha256: str
    size_bytes: int


def save(path: Path, pixels: NDArray[np.uint8], parameters: str, config: ImagesConfig) -> Saved:
    """Write a picture with its settings inside; the same picture gives the same bytes.

    The file appears whole, synced to disk, or not at all. Raises `StorageError`.
    """
    content = encode(pixels, parameters, config)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
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
    picture = PillowImage.fromarray(pixels)
    buffer = io.BytesIO()
    if config.format is ImageFormat.png:
        info = PngInfo()
        info.add_text("parameters", parameters)
        picture.save(buffer, "PNG", compress_level=config.compress_level, pnginfo=info)
    elif config.format is ImageFormat.jpeg:
        exif = _exif(parameters)
        picture.save(buffer, "JPEG", quality=config.quality, subsampling=0, exif=exif)
    else:
        lossless = config.lossless
        quality = 0 if lossless else config.quality
        exif = _exif(parameters)
        method = 0 if lossless else 4
        picture.save(buffer, "WEBP", lossless=lossless, quality=quality, method=method, exif=exif)
    return buffer.getvalue()


def _exif(parameters: str) -> bytes:
    exif = PillowImage.Exif()
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = b"UNICODE\x00" + parameters.encode("utf-16-be")
    content = exif.tobytes()
    if len(content) > _EXIF_LIMIT_BYTES:
        raise ImageError(
            f"the settings take {len(content):,} bytes and EXIF has room for "
            f"{_EXIF_LIMIT_BYTES:,}: shorten the prompt or use images=png."
        )
    return content


def parameters_of(path: Path) -> str | None:
    """Return the settings text inside an image file, None if there is none."""
    with PillowImage.open(path) as picture:
        if picture.format == "PNG":
            picture.load()
            text = getattr(picture, "text", {}).get("parameters")
            return None if text is None else str(text)
        comment = picture.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    if not isinstance(comment, bytes):
        return None
    return comment.removeprefix(b"UNICODE\x00").decode("utf-16-be")


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Return an image file's pixels: RGB, (height, width, 3) uint8."""
    with PillowImage.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
