"""One batch through the pipeline: memory ladder, splitting, a second try for blank pictures.

The only place that catches every exception: a device may raise anything.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from batchgen.config.counts import counted
from batchgen.errors import BlankImage, DeviceLost, DeviceOutOfMemory, Stopped
from batchgen.faults.diagnosis import with_cure
from batchgen.images.blank import blank_reason
from batchgen.pipelines.base import Generation, Picture, Pipeline
from batchgen.plan.requests import Batch, ImageRequest
from batchgen.runner.memory_ladder import Rung

logger = logging.getLogger(__name__)

_FRAMES = 6


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the pipeline and what it gave."""

    batch: Batch
    """The images that were denoised together."""
    generation: Generation
    latency_s: float
    """Seconds of the call divided by its images."""
    rung: Rung
    vae_float32: bool
    """With the VAE raised to float32, after a blank picture."""


@dataclass(frozen=True, slots=True)
class Made:
    """A picture, and the call that made it."""

    request: ImageRequest
    position: int
    """Its place in the batch, from 0."""
    call: Call

    @property
    def picture(self) -> Picture:
        """The pixels."""
        return self.call.generation.pictures[self.position]


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that could not be made, alone or in a batch of `batch_size`."""

    request: ImageRequest
    error: BaseException
    batch_size: int
    frames: str | None = None
    """The traceback, of an error that was raised in another process."""

    @property
    def message(self) -> str:
        """What went wrong; a known fault ends with its cure."""
        return with_cure(str(self.error))

    @property
    def traceback(self) -> str:
        """The last frames of the error."""
        if self.frames is not None:
            return self.frames
        return "".join(traceback.format_exception(self.error, limit=-_FRAMES))


class Maker:
    """Turns batches into pictures or failures; keeps the rung that works for a size.

    `is_tiled` returns whether a width and height are decoded in tiles even on the lowest rung.
    `on_rung` is called with a rung that worked after the one below did not. `around` is entered
    with the images of each call of the pipeline, and left when the call is over.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        rungs: dict[str, Rung],
        *,
        is_tiled: Callable[[int, int], bool],
        on_rung: Callable[[str, Rung], None],
        around: Callable[[Sequence[ImageRequest]], AbstractContextManager[None]],
    ) -> None:
        self._pipeline = pipeline
        self._rungs = rungs
        self._is_tiled = is_tiled
        self._on_rung = on_rung
        self._around = around

    def learn(self, rungs: Mapping[str, Rung]) -> None:
        """Take over what worked elsewhere, size to rung."""
        self._rungs.update(rungs)

    def make(self, batch: Batch) -> Iterator[Made | Failed]:
        """Yield an outcome for each pending image of a batch, in order.

        A batch that fails is split until the culprit stands alone; its neighbours are made.
        Raises `DeviceLost`, which no image is the cause of.
        """
        if not batch.pending:
            return
        settings = batch.requests[0].settings
        rung = self._rungs.get(_size(batch), Rung())
        if self._is_tiled(settings.width, settings.height):
            rung = replace(rung, tiling=True)
        most = rung.max_batch or len(batch.requests)
        if len(batch.requests) > most:
            for at in range(0, len(batch.requests), most):
                yield from self.make(Batch(batch.requests[at : at + most]))
            return
        outcomes = self._tried(batch, rung)
        if isinstance(outcomes, DeviceOutOfMemory):
            yield from self._climb(batch, rung, outcomes)
        elif isinstance(outcomes, Exception):
            yield from self._split(batch, outcomes)
        else:
            yield from outcomes

    def _tried(self, batch: Batch, rung: Rung) -> list[Made | Failed] | Exception:
        """Return the outcomes of a batch, or the error that prevented them."""
        try:
            return self._outcomes(batch, rung)
        except (DeviceLost, Stopped):
            raise
        except Exception as error:
            return error

    def _climb(self, batch: Batch, rung: Rung, error: DeviceOutOfMemory) -> Iterator[Made | Failed]:
        size, above = _size(batch), rung.next(len(batch.requests))
        if above is None:
            yield from (Failed(image, error, len(batch.requests)) for image in batch.pending)
            return
        n_images = counted(len(batch.requests), "image")
        logger.warning("out of memory at %s with %s; now %s", size, n_images, above)
        self._rungs[size] = above
        has_worked = False
        for outcome in self.make(batch):
            if isinstance(outcome, Made) and not has_worked:
                has_worked = True
                self._on_rung(size, self._rungs[size])
            yield outcome
        if not has_worked:
            self._rungs[size] = rung

    def _split(self, batch: Batch, error: Exception) -> Iterator[Made | Failed]:
        if len(batch.requests) == 1:
            yield Failed(batch.requests[0], error, 1)
            return
        logger.warning("a batch of %d failed and is split: %s", len(batch.requests), error)
        for half in batch.halves():
            yield from self.make(half)

    def _outcomes(self, batch: Batch, rung: Rung) -> list[Made | Failed]:
        """Make a batch, once more with the VAE in float32 where a picture came out blank."""
        first = self._call(batch, rung, float32=False)
        blank = {
            i for i, image in enumerate(batch.requests) if image.is_pending and _blank(first, i)
        }
        second = first
        if blank and not self._pipeline.vae_is_float32:
            n_blank = counted(len(blank), "blank picture")
            logger.warning("%s; once more with the VAE in float32", n_blank)
            second = self._call(batch, rung, float32=True)
        return [
            self._outcome(image, position, second if position in blank else first)
            for position, image in enumerate(batch.requests)
            if image.is_pending
        ]

    @staticmethod
    def _outcome(image: ImageRequest, position: int, call: Call) -> Made | Failed:
        reason = _blank(call, position)
        if reason:
            return Failed(image, BlankImage(reason), len(call.batch.requests))
        return Made(image, position, call)

    def _call(self, batch: Batch, rung: Rung, *, float32: bool) -> Call:
        with self._around(batch.requests):
            started = time.perf_counter()
            generation = self._pipeline.generate(batch.requests, rung.decoding(float32=float32))
            latency_s = (time.perf_counter() - started) / len(batch.requests)
        return Call(batch, generation, latency_s, rung, float32)


def _blank(call: Call, position: int) -> str | None:
    picture = call.generation.pictures[position]
    return blank_reason(picture.pixels, is_finite=picture.is_finite)


def _size(batch: Batch) -> str:
    settings = batch.requests[0].settings
    return f"{settings.width}x{settings.height}"
