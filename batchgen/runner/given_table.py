"""A table given from Python: it is kept in the job's folder, so that any start finds it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from batchgen.config.job import JobConfig
from batchgen.config.names import config_from
from batchgen.errors import ConfigError, TableError
from batchgen.storage.atomic import storage_errors
from batchgen.storage.folder import JobFolder
from batchgen.storage.hashes import sha256
from batchgen.storage.kinds import refuse_no_file
from batchgen.table import arrow_table, write_table


@contextmanager
def given_table(
    settings: JobConfig | Mapping[str, Any],
) -> Iterator[tuple[JobConfig, Path | None]]:
    """Yield the config of a job, and the file of a table in memory that its folder has not got yet.

    Args:
        settings: A config, or its fields by name; `table` may be what `table.arrow_table` takes.

    Raises:
        ConfigError: A table in memory has no name for its folder.
        TableError: It cannot be a table; messages call it `table`, not by the file.
    """
    if isinstance(settings, JobConfig):
        if not isinstance(settings.table, (str, PathLike)):
            kind = type(settings.table).__name__
            problem = f"table={kind}(...) in a JobConfig is no path: a table in memory is given as"
            raise ConfigError([f"{problem} run(table=..., name=...)."])
        yield settings.validated(), None
        return
    table = settings.get("table")
    if table is None or isinstance(table, (str, PathLike)):
        yield config_from(settings), None
        return
    if settings.get("name") is None:
        raise ConfigError(["name is missing: a table in memory has none for the job's folder."])
    content = arrow_table(table)
    config = config_from({**settings, "table": "table.parquet"})
    kept = JobFolder(config.folder).kept_table
    config.table = str(kept)
    refuse_no_file(kept)
    with ExitStack() as stack:
        with storage_errors(Path(tempfile.gettempdir())):
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="batchgen-"))
            staged = Path(place) / kept.name
            write_table(content, staged)
        is_kept = kept.is_file() and sha256(kept) == sha256(staged)
        try:
            yield config, None if is_kept else staged
        except TableError as error:
            text = str(error).replace(str(staged), "table").replace(str(kept), "table")
            raise type(error)(text) from error
