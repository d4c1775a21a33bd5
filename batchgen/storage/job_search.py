"""The jobs in a folder: it may be one, a grid of some, or hold both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from batchgen.errors import FolderError
from batchgen.storage.atomic import reading_errors
from batchgen.storage.folder import SHARD, JobFolder, is_dangling, no_job


def jobs_in(root: Path) -> list[JobFolder]:
    """Return the job that a folder is, with its shards, or the jobs below it, ordered by path.

    Raises `FolderError` where there is none, or the folder cannot be read.
    """
    with reading_errors(root):
        if (root / "job.json").is_file():
            return [JobFolder(root), *JobFolder(root).shards()]
        # `os.walk` takes a folder that cannot be read for an empty one.
        is_empty = not root.is_dir() or not any(root.iterdir())
        folders = [] if is_empty else [JobFolder(place) for place in sorted(_job_folders(root))]
    if not folders and is_dangling(root):
        raise no_job(root)
    if not folders:
        raise FolderError(f"{root} holds no job: there is no job.json in it or below.")
    return folders


def _job_folders(root: Path) -> Iterator[Path]:
    """Yield the folders with a job.json below a path; in a job only its shards are looked for.

    A job's folder may be a link; no other link is followed.
    """
    for place, folders, files in os.walk(root):
        if "job.json" in (*folders, *files):
            yield Path(place)
            folders[:] = [name for name in folders if SHARD.fullmatch(name)]
        linked = (Path(place) / name for name in folders)
        yield from (path for path in linked if path.is_symlink() and (path / "job.json").is_file())
