"""The memory ladder: what is reduced, in which order, when the device is out of memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchgen.pipelines.base import Decoding


@dataclass(frozen=True, slots=True)
class Rung:
    """How a batch is made: each rung up is slower and needs less memory."""

    slicing: bool = False
    """The VAE decodes one image at a time."""
    max_batch: int | None = None
    """Images denoised together at most."""
    tiling: bool = False
    """The VAE decodes an image in tiles; may show seams, so it comes last."""

    def next(self, batch_size: int) -> Rung | None:
        """Return the rung above for a batch of this size, None from the top."""
        if batch_size > 1:
            if not self.slicing:
                return replace(self, slicing=True)
            return replace(self, max_batch=(batch_size + 1) // 2)
        if not self.tiling:
            return replace(self, slicing=True, max_batch=1, tiling=True)
        return None

    def decoding(self, *, float32: bool = False) -> Decoding:
        """Return the decoding options for the pipeline."""
        return Decoding(slicing=self.slicing, tiling=self.tiling, float32=float32)

    def __str__(self) -> str:
        """Return the rung as metadata and journal name it; empty at the bottom."""
        batch = f"batch={self.max_batch}" if self.max_batch else ""
        words = ("slicing" if self.slicing else "", batch, "tiling" if self.tiling else "")
        return ",".join(word for word in words if word)

    @classmethod
    def from_text(cls, text: str) -> Rung:
        """Return the rung behind `str`."""
        words = dict(word.partition("=")[::2] for word in text.split(",") if word)
        return cls(
            slicing="slicing" in words,
            max_batch=int(words["batch"]) if "batch" in words else None,
            tiling="tiling" in words,
        )
