"""What `plan` prints: everything validated and counted, nothing started."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batchgen.config.counts import counted
from batchgen.config.decimals import size_text
from batchgen.config.job import JobConfig
from batchgen.config.setting_choices import LongPrompt
from batchgen.model import tokens, weights
from batchgen.plan.backlog import Backlog
from batchgen.plan.resolution import resolved
from batchgen.runner.disk_space import Average, needed_bytes
from batchgen.runner.identity import Job
from batchgen.runner.opening import Survey, surveyed
from batchgen.storage.folder import JobFolder
from batchgen.table import Table

_SHOWN = 5


_SHAPING = ("steps", "guidance_scale", "scheduler", "width", "height")
"""Settings that a plan shows."""

_SUMMED = ("images", "disk")
"""Lines that the sum of a grid stands for, and its points."""
_OF_POINTS = (*_SUMMED, "settings", "time", "tune")
"""Those that a point of a grid has for itself, and that its name or the sum says better."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a job will do; `work` in figures."""

    lines: tuple[str, ...]
    work: Work

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)


@dataclass(frozen=True, slots=True)
class Work:
    """How much of a job, or of several, is done and left."""

    n_images: int
    n_done: int
    n_failed: int
    needed_bytes: int
    hours: float | None
    """None where it is not known."""

    def images(self) -> str:
        """Return the images in words."""
        n_left = self.n_images - self.n_done - self.n_failed
        return (
            f"{self.n_images:,}: {self.n_done:,} done, {self.n_failed:,} failed, {n_left:,} to make"
        )

    @classmethod
    def of_all(cls, works: Collection[Work]) -> Work:
        """Return the sum."""
        hours = [work.hours for work in works if work.hours is not None]
        return cls(
            n_images=sum(work.n_images for work in works),
            n_done=sum(work.n_done for work in works),
            n_failed=sum(work.n_failed for work in works),
            needed_bytes=sum(work.needed_bytes for work in works),
            hours=sum(hours) if len(hours) == len(works) else None,
        )


def forecast(config: JobConfig, swept: Collection[str] = (), preset: str | None = None) -> Forecast:
    """Return the plan of a job. Raises whatever `run` would refuse.

    Args:
        config: The job's, or that of a point of a grid.
        swept: The keys that make the grid.
        preset: The name that `sampling=` gave.
    """
    job = Job.identify(config)
    survey = surveyed(job)
    backlog = survey.backlog
    latency_s = _mean_latency_s(job.folder)
    work = _work(job, backlog, latency_s)
    model = job.model
    lines = (
        *_table_lines(survey),
        f"model     {model.name} {model.revision} on {job.device.value}, {model.dtype}",
        *_settings_lines(config, backlog, swept, preset),
        *_prompt_lines(job, survey.table),
        *_work_lines(job, backlog, work, latency_s),
    )
    return Forecast(lines, work)


def grid_lines(points: Mapping[str, Forecast]) -> Iterator[str]:
    """Yield what is common to all points of a grid, each point by its name, then the sum."""
    plans = list(points.values())
    common = [line for line in plans[0] if all(line in plan.lines for plan in plans)]
    yield from (line for line in common if _kind(line) not in _SUMMED)
    for name, plan in points.items():
        yield f"point     {name}: images {plan.work.images()}"
        apart = [line for line in plan if line not in common]
        yield from (f"  {line}" for line in apart if _kind(line) not in _OF_POINTS)
    work = Work.of_all([plan.work for plan in plans])
    hours = "" if work.hours is None else f"; about {work.hours:.2f} h"
    yield (
        f"in all    {counted(len(plans), 'point')}, images {work.images()}; about "
        f"{size_text(work.needed_bytes)} more on the disk{hours}"
    )


def _kind(line: str) -> str:
    return line.partition(" ")[0]


def _settings_lines(
    config: JobConfig, backlog: Backlog, swept: Collection[str], preset: str | None
) -> Iterator[str]:
    """Say what the images are made with, and where rows have it their own way."""
    values = config.image_defaults()
    of_preset = f", of sampling={preset}" if preset else ""
    yield (
        f"settings  {counted(values['steps'], 'step')}, guidance {values['guidance_scale']:g}, "
        f"{values['scheduler']}, {config.width}x{config.height}{of_preset}"
    )
    n_rows = min(backlog.n_rows, config.limit or backlog.n_rows)
    own = [f"{name} {backlog.n_own[name]:,}" for name in _SHAPING if backlog.n_own.get(name)]
    if own:
        yield f"own       rows of {n_rows:,} with settings of their own: {', '.join(own)}"
    for key in swept:
        n_own = backlog.n_own.get(key.rpartition(".")[2], 0)
        if n_own:
            yield (
                f"note      {key} of the grid is not that of {n_own:,} of "
                f"{counted(n_rows, 'row')}: the table gives them their own, the same at every point"
            )


def _prompt_lines(job: Job, table: Table) -> Iterator[str]:
    """Say how many prompts are longer than a text encoder takes; nothing where none is."""
    sampling = job.config.sampling
    folder = weights.tokenizer_folder(job.config.model)
    if folder is None:
        return
    count = tokens.counter(folder, weighted=sampling.weighting)
    n_long, keys = long_prompts(table, job.config, count)
    if not n_long:
        return
    fate = "is cut there; sampling.long_prompt=chunk encodes it whole"
    if sampling.long_prompt is LongPrompt.chunk:
        fate = "is encoded in chunks"
    shown = [key if key.isprintable() else repr(key) for key in keys]
    shown += ["..."] if n_long > len(keys) else []
    yield (
        f"prompts   {n_long:,} with a text of more than {tokens.CHUNK} tokens, which {fate}: "
        f"rows {', '.join(shown)}"
    )


def long_prompts(table: Table, config: JobConfig, count: tokens.Counter) -> tuple[int, list[str]]:
    """Return how many rows have a text of more tokens than a chunk, and the first few row keys.

    Reads the table once more. Only texts that may be so long, by their bytes, are counted.
    """
    n_long, keys = 0, list[str]()
    limit = config.limit or np.iinfo(np.int64).max
    for rows in table.chunks():
        own = rows.settings.slice(0, max(0, limit - rows.first_index))
        settings = resolved(replace(rows, settings=own), config)
        is_guided = settings["guidance_scale"].to_numpy() > 1
        is_long = _is_long(settings["negative_prompt"], count) & is_guided
        is_long |= _is_long(settings["prompt"], count) | _is_long(settings["prompt_2"], count)
        positions = np.flatnonzero(is_long)
        n_long += len(positions)
        keys += settings["row_key"].take(positions[: _SHOWN - len(keys)]).to_pylist()
    return n_long, keys


def _is_long(texts: Any, count: tokens.Counter) -> NDArray[np.bool_]:
    """Return which texts of a column have more tokens than a chunk, (n,); null has none.

    Each text is counted once, however many rows have it: a job's negative prompt is in all.
    """
    whole: Any = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    coded = whole.dictionary_encode()
    # A token is a byte at least, and normalisation makes up to three of one.
    is_long: NDArray[np.bool_] = np.array(pc.binary_length(coded.dictionary)) > tokens.CHUNK // 3
    counts = count(coded.dictionary.take(np.flatnonzero(is_long)).to_pylist())
    is_long[is_long] = np.array(counts, dtype=np.int64) > tokens.CHUNK
    # One place more, False, for rows without a text.
    places: Any = pc.fill_null(coded.indices, len(is_long))
    of_each: NDArray[np.bool_] = np.append(is_long, [False])[np.asarray(places)]
    return of_each


def _table_lines(survey: Survey) -> Iterator[str]:
    table = survey.table
    used = [s if s == c else f"{s} (column {c!r})" for s, c in table.columns_used.items()]
    yield f"table     {table.path}: {counted(survey.backlog.n_rows, 'row')}"
    yield f"used      {', '.join(used)}"
    yield f"carried   {', '.join(table.carried.names) or 'no further columns'}"
    for note in survey.notes:
        yield f"note      {note}"
    if "row_key" not in table.columns_used:
        yield (
            "note      rows have no id and are known by their number: a row that is inserted "
            "changes all after it. A column id names each row for good."
        )


def _work(job: Job, backlog: Backlog, latency_s: float | None) -> Work:
    n_left = backlog.n_pending
    average = Average.of(backlog) if n_left else None
    return Work(
        n_images=backlog.n_images,
        n_done=backlog.n_images - n_left - backlog.n_failed,
        n_failed=backlog.n_failed,
        needed_bytes=needed_bytes(job.folder, job.config, n_left, average),
        hours=None if latency_s is None else n_left * latency_s / 3600,
    )


def _work_lines(job: Job, backlog: Backlog, work: Work, latency_s: float | None) -> Iterator[str]:
    yield f"images    {work.images()} in batches of up to {job.config.batch_size}"
    if job.config.part is not None:
        counts = backlog.of_shards
        least, most, total = (int(one) for one in (counts.min(), counts.max(), counts.sum()))
        yield (
            f"shard     {job.config.part.index} of 0 to {job.config.part.count - 1}, which have "
            f"{least:,} to {most:,} images each, {total:,} in all"
        )
    yield f"disk      about {size_text(work.needed_bytes)} more, in {job.folder.root}"
    if work.hours is None or latency_s is None:
        yield "time      unknown before the first images; limit=8 makes a few to go by"
        yield (
            "tune      `batchgen tune` with these settings finds the best batch_size; a job keeps "
            "its own, so before the first start"
        )
    else:
        yield f"time      about {work.hours:.2f} h, at {latency_s:.3g} s an image"


def _mean_latency_s(folder: JobFolder) -> float | None:
    """Return the mean over the finished images but those of a warm-up, if there are others."""
    if not folder.metadata.exists():
        return None
    columns = pq.read_table(folder.metadata, columns=["latency_s", "warm_up"])
    steady = columns.filter(pc.invert(columns["warm_up"]))
    mean = pc.mean((steady if steady.num_rows else columns)["latency_s"]).as_py()
    return None if mean is None else float(mean)
