"""The batch size that makes the most images a minute on the device at hand, found by trying.

Calls the pipeline with a job's own settings and first rows, and keeps nothing: no folder, no
ledger, no rung of the memory ladder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle, islice

from batchgen.config.job import JobConfig
from batchgen.config.settings import SETTINGS, Settings
from batchgen.errors import DeviceError, DeviceOutOfMemory
from batchgen.pipelines.base import Decoding, Pipeline
from batchgen.pipelines.factory import load
from batchgen.plan.batches import chunk_rows, requests
from batchgen.plan.requests import ImageRequest
from batchgen.plan.resolution import image_columns
from batchgen.runner.identity import Job

logger = logging.getLogger(__name__)

SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Images a batch, tried in turn."""
SLACK = 0.02
"""Share of the highest rate that a smaller batch may miss and still be the best."""
_TIMED = 2
"""Batches of a size that are timed, after the first."""
_IMAGES = 1024
"""Images that are looked at; where those of one kind are fewer than a batch, they come again."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a batch size came to; seconds are those of a batch."""

    batch_size: int
    images_per_minute: float
    peak_memory_bytes: int
    """Most during any batch of the size, as the metadata have it."""
    encode_s: float
    denoise_s: float
    decode_s: float
    first_batch_s: float
    """The first batch, for which kernels are compiled and memory is taken; in no other figure."""


def tuned(config: JobConfig) -> Iterator[Trial]:
    """Yield a trial of each of `SIZES` up to out of memory, then one halfway.

    Halfway is between the largest that fits and the one that does not, or between the best and
    the one below it. Loads the model first. Raises what refuses the job, `DeviceError` where not
    even one image fits, and whatever else the pipeline raises.
    """
    job = Job.identify(config)
    images = _alike(job)
    with closing(load(job.config.model, job.config.device, job.device, job.adapters)) as pipeline:
        bench = _Bench(pipeline, images, _decoding(job, images[0].settings))
        trials: list[Trial] = []
        too_large = None
        for size in SIZES:
            try:
                trials.append(bench.trial(size))
            except DeviceOutOfMemory as error:
                if not trials:
                    raise DeviceError(f"Not even a batch of one image fits: {error}") from error
                logger.warning("batch_size=%d is out of memory", size)
                too_large = size
                break
            yield trials[-1]
        halfway = _halfway(trials, too_large)
        if halfway is not None:
            try:
                yield bench.trial(halfway)
            except DeviceOutOfMemory:
                logger.warning("batch_size=%d is out of memory", halfway)


def best(trials: Sequence[Trial]) -> Trial:
    """Return the trial of the smallest batch whose rate is within 2 % of the highest."""
    enough = (1 - SLACK) * max(trial.images_per_minute for trial in trials)
    able = [trial for trial in trials if trial.images_per_minute >= enough]
    return min(able, key=lambda trial: trial.batch_size)


def _halfway(trials: Sequence[Trial], too_large: int | None) -> int | None:
    """Return the size between two that is worth a trial; None where none lies between them."""
    below, above = trials[-1].batch_size, too_large
    if above is None:
        above = best(trials).batch_size
        below = above // 2
    return (below + above) // 2 if above - below > 1 else None


def _alike(job: Job) -> list[ImageRequest]:
    """Return images of the job's first rows, those that can be in a batch with the first of all."""
    n_rows = min(chunk_rows(job.config), job.config.limit or _IMAGES)
    rows = next(job.open_table().chunks(0, n_rows))
    columns = image_columns(rows, job.config, job.model.revision, job.adapter_revisions)
    job.demands.refuse_rows(rows, columns.settings)
    images = requests(columns, range(min(_IMAGES, len(columns.row))))
    return [one for one in images if _shared(one.settings) == _shared(images[0].settings)]


def _shared(settings: Settings) -> list[object]:
    """Return all that the images of a batch agree in."""
    return [getattr(settings, name) for name, row in SETTINGS.items() if row.is_shared]


def _decoding(job: Job, settings: Settings) -> Decoding:
    return Decoding(tiling=job.config.model.is_tiled(settings.width, settings.height))


@dataclass(frozen=True, slots=True)
class _Bench:
    """A loaded model and the images it is timed with."""

    pipeline: Pipeline
    images: Sequence[ImageRequest]
    decoding: Decoding

    def trial(self, size: int) -> Trial:
        """Make a batch to warm up, then some that count. Raises what the pipeline raises."""
        endless = cycle(self.images)
        seconds, made = [], []
        for _ in range(1 + _TIMED):
            batch = list(islice(endless, size))
            started = time.perf_counter()
            made.append(self.pipeline.generate(batch, self.decoding))
            seconds.append(time.perf_counter() - started)
        timed = made[1:]
        return Trial(
            batch_size=size,
            images_per_minute=60 * size * _TIMED / sum(seconds[1:]),
            peak_memory_bytes=max(one.peak_memory_bytes for one in made),
            encode_s=sum(one.encode_s for one in timed) / _TIMED,
            denoise_s=sum(one.denoise_s for one in timed) / _TIMED,
            decode_s=sum(one.decode_s for one in timed) / _TIMED,
            first_batch_s=seconds[0],
        )
