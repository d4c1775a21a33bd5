"""What is asked of a pipeline: the settings of one image, a request for it, a batch of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batchgen.plan.fingerprint import as_hex, text_hash


@dataclass(frozen=True, slots=True)
class Settings:
    """The resolved settings of one image: all that shapes it, next to the model."""

    prompt: str
    prompt_2: str | None
    """For the second text encoder; None is `prompt` there too."""
    negative_prompt: str
    seed: int
    """In [0, 2**63)."""
    steps: int
    guidance_scale: float
    """Guidance is off at 1 and below."""
    width: int
    """Pixels, a multiple of 8."""
    height: int
    scheduler: str
    """A key of `schedulers.SCHEDULERS`."""
    timestep_spacing: str = "model"
    """A value of `sampling.TimestepSpacing`."""
    guidance_rescale: float = 0.0
    """In [0, 1]; 0 is off."""
    cfg_cutoff: float = 1.0
    """Share of the steps with guidance, above 0."""
    clip_skip: int = 0
    """Layers of the text encoders left out, counted from the last but one."""
    long_prompt: str = "cut"
    """A value of `sampling.LongPrompt`."""
    weighting: bool = False
    """Whether `(word:1.2)` in a prompt is a weight."""
    lora: str = ""
    """Adapters and their weights in the form of `lora.canonical`; empty without any."""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """One picture to be: a row, an image index, and its resolved settings."""

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
        """The make-up of the batch in 16 hexadecimal digits: who is in it, in which place."""
        return as_hex(text_hash(",".join(image.fingerprint for image in self.requests)))

    @property
    def pending(self) -> tuple[ImageRequest, ...]:
        """The images whose pictures are wanted."""
        return tuple(image for image in self.requests if image.is_pending)

    def halves(self) -> tuple[Batch, Batch]:
        """Split a batch of two or more, to find which image breaks it."""
        middle = (len(self.requests) + 1) // 2
        return Batch(self.requests[:middle]), Batch(self.requests[middle:])
