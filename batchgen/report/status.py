"""`batchgen status`: how jobs are doing, from their files alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from batchgen.runner.progress import HEARTBEAT_S, line
from batchgen.storage.folder import JobFolder, jobs_in

_SILENT_S = 6 * HEARTBEAT_S
_AT_WORK = ("loading", "running", "stopping")


def status_lines(folder: Path | None, output_root: Path = Path("outputs")) -> Iterator[str]:
    """Yield a few lines for a job or a grid, or for every job under the output folder.

    Raises `FolderError` where there is none.
    """
    for job in jobs_in(output_root if folder is None else folder):
        yield from _lines(job)


def _lines(folder: JobFolder) -> Iterator[str]:
    try:
        status = json.loads(folder.status_json.read_text(encoding="utf-8"))
        yield f"{folder.root}: {_state(status)}; {line(status)}"
        yield from (f"  {n} failed with {kind}" for kind, n in status["failed_by_type"].items())
    except FileNotFoundError:
        yield f"{folder.root}: no status yet"
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield f"{folder.root}: status.json cannot be read ({type(error).__name__}: {error})"


def _state(status: dict[str, Any]) -> str:
    heartbeat = datetime.fromisoformat(status["heartbeat"])
    silent_s = (datetime.now(timezone.utc) - heartbeat).total_seconds()
    ago = f"last heartbeat {silent_s:.0f} s ago"
    if status["state"] in _AT_WORK:
        if silent_s > _SILENT_S:
            return f"died while {status['state']}, {ago}; the same command resumes it"
        return f"{status['state']}, process {status['pid']} on {status['host']}, {ago}"
    return f"{status['state']}, {ago}"
