"""batchgen turns a table of prompts into a dataset of images, unattended.

    import batchgen

    result = batchgen.run(table="jobs/demo.csv", name="demo", model="demo")
    images = batchgen.read_metadata(result.folder)

Importing this loads no model and no mindspore.
"""

from __future__ import annotations

from contextlib import closing
from importlib.metadata import version
from os import PathLike
from typing import TYPE_CHECKING, Any

from batchgen.config.device import DeviceConfig
from batchgen.config.job import ImagesConfig, JobConfig, RetryConfig, StopConfig, TimeoutConfig
from batchgen.config.models import AdapterConfig, DemoModel, FakeModel, ModelConfig, SdxlModel
from batchgen.config.reading import ReadingConfig
from batchgen.config.sampling import SamplingConfig
from batchgen.config.workers import ExecutorConfig
from batchgen.errors import (
    BatchgenError,
    CircuitOpen,
    ConfigError,
    DeviceError,
    FolderError,
    ImageError,
    JobChanged,
    JobInUse,
    ModelError,
    ModelMissing,
    Refused,
    Stopped,
    StorageError,
    TableChanged,
    TableError,
)
from batchgen.runner.result import JobResult

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AdapterConfig",
    "BatchgenError",
    "CircuitOpen",
    "ConfigError",
    "DemoModel",
    "DeviceConfig",
    "DeviceError",
    "ExecutorConfig",
    "FakeModel",
    "FolderError",
    "ImageError",
    "ImagesConfig",
    "JobChanged",
    "JobConfig",
    "JobInUse",
    "JobResult",
    "ModelConfig",
    "ModelError",
    "ModelMissing",
    "ReadingConfig",
    "Refused",
    "RetryConfig",
    "SamplingConfig",
    "SdxlModel",
    "StopConfig",
    "Stopped",
    "StorageError",
    "TableChanged",
    "TableError",
    "TimeoutConfig",
    "__version__",
    "read_metadata",
    "run",
]

__version__ = version("batchgen")


def run(config: JobConfig | None = None, /, **settings: Any) -> JobResult:
    """Make the images of a job, or go on making them, and return what it ended with.

        batchgen.run(table="cats.csv", model="fake", sampling={"steps": 30}, seeds=range(4))

    Args:
        config: The whole config of the job.
        **settings: Its fields, in the place of `config`. `model`, `device`, `images`, `executor`
            and `sampling` may be the names they have on the command line, and nested configs may be
            dicts. Paths and numpy's scalars and arrays pass for text, numbers and lists. `table`
            may also be a DataFrame, an Arrow table, a `datasets.Dataset` or a list of dicts: then
            `name` is required, and the table is kept in the job's folder as
            .batchgen/table.parquet.

    Returns:
        What the job ended with. One that stopped early, or whose images failed in part, returns as
        well: see `JobResult.exit_code`.

    Raises:
        Refused: Nothing was started: config, table, folder, model or device cannot be used.
        Stopped: The disk was full, or the table changed, even before the start.
    """
    from batchgen.executors.choice import executor_of
    from batchgen.runner.given_table import given_table
    from batchgen.runner.start import run_job
    from batchgen.runner.stopping import Stop

    if config is not None and settings:
        raise TypeError("run() takes a JobConfig or keyword arguments, not both")
    with given_table(config or settings) as (job, staged):
        stop, executor = Stop(job.stop.max_hours), executor_of(job.executor)
        with stop.on_signals(), closing(executor):
            return run_job(job, executor, stop, staged)


def read_metadata(folder: str | PathLike[str]) -> pd.DataFrame:
    """Return the metadata of all finished images of a job, ordered by row and image index.

    Reads what is committed at this moment, so it may be called while the job runs. The columns
    are those of docs/metadata.md, then the table's own. Of a grid it is one frame, point after
    point: first `point`, the name of the point's folder, and a column a swept key; `file_name` is
    relative to the grid's folder. Raises `FolderError` for a folder that is neither.
    """
    from batchgen.config.paths import expanded
    from batchgen.runner import grid_metadata

    frame: pd.DataFrame = grid_metadata.read_metadata(expanded(folder)).to_pandas()
    return frame
