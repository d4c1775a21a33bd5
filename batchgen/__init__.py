"""batchgen turns a table of prompts into a dataset of images, unattended.

    import batchgen

    result = batchgen.run(table="jobs/demo.csv", name="demo", model="demo")
    images = batchgen.read_metadata(result.folder)

Importing this loads no model and no mindspore.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchgen.config.job import JobConfig
from batchgen.errors import BatchgenError

if TYPE_CHECKING:
    import pandas as pd

    from batchgen.runner.start import JobResult

__all__ = ["BatchgenError", "JobConfig", "read_metadata", "run"]


def run(config: JobConfig | None = None, /, **settings: Any) -> JobResult:
    """Make the images of a job, or go on making them, and return what it ended with.

    Takes a `JobConfig`, or its fields as keyword arguments; there `model`, `device` and `images`
    may be the names they have on the command line, and nested configs may be dicts:

        batchgen.run(table="cats.csv", model="fake", sampling={"steps": 30}, seeds=range(4))

    Raises `errors.Refused` where nothing was started, and `errors.Stopped` where the disk was full
    or the table changed even before that. A job that stops early or has failures returns: see
    `JobResult.exit_code`.
    """
    from batchgen.config.names import config_from
    from batchgen.runner.start import PipelineCache, run_job
    from batchgen.runner.stopping import Stop

    if config is None:
        config = config_from(settings)
    elif settings:
        raise TypeError("run() takes a JobConfig or keyword arguments, not both")
    stop, cache = Stop(config.stop.max_hours), PipelineCache()
    try:
        with stop.on_signals():
            return run_job(config, cache, stop)
    finally:
        cache.close()


def read_metadata(folder: str | PathLike[str]) -> pd.DataFrame:
    """Return the metadata of all finished images of a job, ordered by row and image index.

    Reads what is committed at this moment, so it may be called while the job runs. The columns
    are those of docs/metadata.md, then the table's own. Raises `errors.FolderError` for a folder
    that is no job.
    """
    from batchgen.ledger.reader import read_table
    from batchgen.storage.folder import JobFolder

    frame: pd.DataFrame = read_table(JobFolder(Path(folder))).to_pandas()
    return frame
