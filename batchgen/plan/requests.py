"""What a pipeline is given: a request for an image, and a batch of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batchgen.config.settings import Settings
from batchgen.plan.fingerprint import as_hex, text_hash


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One picture to make: a row, an image index, and its resolved settings."""

    row_key: str
    row_index: int
    image_index: int
    settings: Settings
    fingerprint: str
    """16 hexadecimal digits: the settings and the model's identity."""
    number: int
    """The number in the file name: the row index, unless that belongs to another key."""
    is_pending: bool
    """False for a finished neighbour that is made again to keep the batch as it was."""
    carried: dict[str, Any]
    """The table's own columns of the row, as Arrow scalars."""

    @property
    def key(self) -> tuple[str, int]:
        """What identifies the image in its job."""
        return self.row_key, self.image_index


@dataclass(frozen=True, slots=True)
class Batch:
    """Images denoised together; they agree in all that a call of the pipeline shares."""

    requests: tuple[ImageRequest, ...]

    @property
    def batch_id(self) -> str:
        """The make-up of the batch, its images in order, in 16 hexadecimal digits."""
        return as_hex(text_hash(",".join(image.fingerprint for image in self.requests)))

    @property
    def pending(self) -> tuple[ImageRequest, ...]:
        """The images whose pictures are wanted."""
        return tuple(image for image in self.requests if image.is_pending)

    def halves(self) -> tuple[Batch, Batch]:
        """Split a batch of two or more, to find which image breaks it."""
        middle = (len(self.requests) + 1) // 2
        return Batch(self.requests[:middle]), Batch(self.requests[middle:])
