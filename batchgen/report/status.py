"""`batchgen status`: how jobs are doing, from their files alone."""

from __future__ import annotations

import contextlib
import json
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from batchgen.config.counts import counted
from batchgen.errors import FolderError
from batchgen.ledger.contents import consistently, read_contents
from batchgen.ledger.image_names import Missing, count_missing
from batchgen.runner.progress import HEARTBEAT_S, line
from batchgen.storage.folder import GRID_FILE, JobFolder
from batchgen.storage.job_search import jobs_in
from batchgen.storage.kinds import refuse_other_files, refuse_other_folders
from batchgen.storage.processes import is_running

_SILENT_S = 6 * HEARTBEAT_S
_AT_WORK = ("loading", "running", "stopping")
_UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
"""What a status.json raises that is damaged, or another program's."""


def status_lines(folder: Path | None, output_root: Path = Path("outputs")) -> Iterator[str]:
    """Yield a few lines for a job or a grid, or for every job under the output folder.

    Raises `FolderError` where there is none.
    """
    root = output_root if folder is None else folder
    jobs = jobs_in(root)
    for job in jobs:
        yield from _lines(job)
    for whole in dict.fromkeys(job.root.parent for job in jobs):
        if shards := JobFolder(whole).shards():
            own = [JobFolder(whole)] if JobFolder(whole).is_job() else []
            yield _sum(whole, counted(len(shards), "shard"), [*own, *shards])
        elif whole != root.parent and (whole / GRID_FILE).exists():
            points = [job for job in jobs if job.root.parent == whole]
            yield _sum(whole, counted(len(points), "point"), points)


def _sum(whole: Path, parts: str, jobs: Sequence[JobFolder]) -> str:
    """Return a line for a job that lies in shards, or for a grid."""
    counts = Counter[str]()
    for folder in jobs:
        with contextlib.suppress(FolderError, *_UNREADABLE):
            status = _status(folder)
            counts.update({name: status[name] for name in ("n_images", "n_done", "n_failed")})
    failed = f", {counts['n_failed']:,} failed" if counts["n_failed"] else ""
    return (
        f"{whole}: in {parts}, {counts['n_done']:,} of "
        f"{counted(counts['n_images'], 'image')}{failed}"
    )


def status_objects(
    folder: Path | None, output_root: Path = Path("outputs")
) -> Iterator[dict[str, Any]]:
    """Yield the same for programs: status.json of each job, with `folder`, `is_alive`, `n_missing`.

    Where a job has no status that can be read, `error` says why. Raises as `status_lines`.
    """
    for job in jobs_in(output_root if folder is None else folder):
        try:
            status = _status(job)
            found = {**status, "is_alive": _is_alive(status), "n_missing": _missing(job).n_images}
        except (FolderError, *_UNREADABLE) as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        yield {"folder": str(job.root), **found}


def _status(folder: JobFolder) -> dict[str, Any]:
    refuse_other_folders(folder)
    refuse_other_files(folder)
    status: dict[str, Any] = json.loads(folder.status_json.read_text(encoding="utf-8"))
    return status


def _lines(folder: JobFolder) -> Iterator[str]:
    try:
        status = _status(folder)
        yield f"{folder.root}: {_state(status)}; {line(status)}"
        yield from map(_worker_line, status.get("workers", ()) if _is_alive(status) else ())
        yield from (f"  {n} failed with {kind}" for kind, n in status["failed_by_type"].items())
        if (missing := _missing(folder)).n_images:
            yield (
                f"  no file for {counted(missing.n_images, 'finished image')}, the first "
                f"{missing.first}; the next start makes them again"
            )
    except FileNotFoundError:
        yield f"{folder.root}: no status yet"
    except FolderError as error:
        yield f"{folder.root}: {error}"
    except _UNREADABLE as error:
        yield f"{folder.root}: status.json cannot be read ({type(error).__name__}: {error})"


def _worker_line(worker: dict[str, Any]) -> str:
    seen_s = _seconds_since(worker["heartbeat"])
    return (
        f"  worker {worker['worker']}, {worker['device']}: {counted(worker['n_made'], 'image')}, "
        f"{worker['images_per_s']:.3g} images/s, {worker['peak_memory_bytes'] / 2**30:.1f} GiB, "
        f"last heard of {seen_s:.0f} s ago"
    )


def _missing(folder: JobFolder) -> Missing:
    """Return which images have no file, unless the job was told not to look."""
    config = (folder.identity() or {}).get("config")
    if isinstance(config, dict) and config.get("on_missing") == "trust":
        return Missing()
    return consistently(folder, lambda: count_missing(folder, read_contents(folder)))


def _state(status: dict[str, Any]) -> str:
    silent_s = _silent_s(status)
    ago = f"last heartbeat {silent_s:.0f} s ago"
    if status["state"] not in _AT_WORK:
        return f"{status['state']}, {ago}"
    if not _is_alive(status):
        return f"died while {status['state']}, {ago}; the same command resumes it"
    return f"{status['state']}, process {status['pid']} on {status['host']}, {ago}"


def _is_alive(status: dict[str, Any]) -> bool:
    """Return whether a start is at work; on this host its process is looked for."""
    if status["state"] not in _AT_WORK:
        return False
    if status["host"] == socket.gethostname() and not is_running(int(status["pid"])):
        return False
    return _silent_s(status) <= _SILENT_S


def _silent_s(status: dict[str, Any]) -> float:
    return _seconds_since(status["heartbeat"])


def _seconds_since(moment: str) -> float:
    return (datetime.now(timezone.utc) - datetime.fromisoformat(moment)).total_seconds()
