"""The file formats of images: how each encodes a picture, with the settings inside.

A further format is a class here, its entry in `FORMATS`, a member of `ImageFormat` and a file of
conf/images.
"""

from __future__ import annotations

import io
from typing import Protocol

from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from batchgen.config.job import ImageFormat, ImagesConfig
from batchgen.errors import ImageError

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
COMMENT_CODE = b"UNICODE\x00"
"""What EXIF puts in front of a comment in UTF-16."""

_EXIF_LIMIT_BYTES = 65_000


class Format(Protocol):
    """A file format; the value of its member of `ImageFormat` is its suffix."""

    bytes_per_pixel: float
    """Of photographs at 1024 x 1024, measured with Pillow; flat pictures take less."""

    def encode(self, picture: PillowImage.Image, parameters: str, config: ImagesConfig) -> bytes:
        """Return the bytes of a file; the same picture gives the same bytes.

        Raises `ImageError` for settings that have no room in it.
        """


class Png:
    """PNG with the settings in a tEXt or iTXt chunk `parameters`."""

    bytes_per_pixel = 1.9

    def encode(self, picture: PillowImage.Image, parameters: str, config: ImagesConfig) -> bytes:
        """See `Format.encode`."""
        info = PngInfo()
        info.add_text("parameters", parameters)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=config.compress_level, pnginfo=info)
        return buffer.getvalue()


class Jpeg:
    """JPEG without chroma subsampling, with the settings in EXIF."""

    bytes_per_pixel = 0.5

    def encode(self, picture: PillowImage.Image, parameters: str, config: ImagesConfig) -> bytes:
        """See `Format.encode`."""
        buffer, exif = io.BytesIO(), _exif(parameters)
        picture.save(buffer, "JPEG", quality=config.quality, subsampling=0, exif=exif)
        return buffer.getvalue()


class WebP:
    """WebP, lossless or not, with the settings in EXIF."""

    bytes_per_pixel = 1.4

    def encode(self, picture: PillowImage.Image, parameters: str, config: ImagesConfig) -> bytes:
        """See `Format.encode`."""
        lossless = config.lossless
        picture.save(
            buffer := io.BytesIO(),
            "WEBP",
            lossless=lossless,
            quality=0 if lossless else config.quality,
            method=0 if lossless else 4,
            exif=_exif(parameters),
        )
        return buffer.getvalue()


FORMATS: dict[ImageFormat, Format] = {
    ImageFormat.png: Png(),
    ImageFormat.jpeg: Jpeg(),
    ImageFormat.webp: WebP(),
}


def _exif(parameters: str) -> bytes:
    exif = PillowImage.Exif()
    exif.get_ifd(EXIF_IFD)[USER_COMMENT] = COMMENT_CODE + parameters.encode("utf-16-be")
    content = exif.tobytes()
    if len(content) > _EXIF_LIMIT_BYTES:
        raise ImageError(
            f"the settings take {len(content):,} bytes and EXIF has room for "
            f"{_EXIF_LIMIT_BYTES:,}: shorten the prompt or use images=png."
        )
    return content
