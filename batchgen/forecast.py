"""What `plan` says: everything validated and counted, nothing started."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchgen.config import JobConfig
from batchgen.folder import JobFolder
from batchgen.plan.backlog import Backlog
from batchgen.runner.job import Job, notes
from batchgen.runner.space import image_size_bytes
from batchgen.table import Table


def forecast(config: JobConfig) -> Iterator[str]:
    """Yield the plan of a job line by line. Raises whatever `run` would refuse."""
    job = Job.identify(config)
    table = job.open_table()
    contents, finished = job.committed()
    backlog = job.survey(table, contents.facts, finished)
    job.refuse_changes(backlog, contents)
    yield from _table_lines(table, backlog)
    yield (
        f"model     {job.model.name} {job.model.revision} on {job.device.value}, {job.model.dtype}"
    )
    yield from _work_lines(job, backlog)


def _table_lines(table: Table, backlog: Backlog) -> Iterator[str]:
    used = [s if s == c else f"{s} (column {c!r})" for s, c in table.columns_used.items()]
    yield f"table     {table.path}: {backlog.n_rows:,} rows"
    yield f"used      {', '.join(used)}"
    yield f"carried   {', '.join(table.carried.names) or 'no further columns'}"
    for note in notes(table, backlog):
        yield f"note      {note}"


def _work_lines(job: Job, backlog: Backlog) -> Iterator[str]:
    n_left = backlog.n_pending
    n_done = backlog.n_images - n_left - backlog.n_failed
    yield (
        f"images    {backlog.n_images:,}: {n_done:,} done, {backlog.n_failed:,} failed, "
        f"{n_left:,} to make in batches of up to {job.config.batch_size}"
    )
    size = image_size_bytes(job.folder, job.config)
    yield f"disk      about {n_left * size / 2**20:,.1f} MiB more, in {job.folder.root}"
    latency_s = _mean_latency_s(job.folder)
    if latency_s is None:
        yield "time      unknown before the first images; limit=8 makes a few to go by"
    else:
        yield f"time      about {n_left * latency_s / 3600:.2f} h, at {latency_s:.3g} s an image"


def _mean_latency_s(folder: JobFolder) -> float | None:
    """Return the mean over the finished images, None where there are none."""
    if not folder.metadata.exists():
        return None
    column = pq.read_table(folder.metadata, columns=["latency_s"])["latency_s"]
    mean = pc.mean(column).as_py()
    return None if mean is None else float(mean)
