"""Whether a process of this host runs, and since when."""

from __future__ import annotations

import os
from pathlib import Path


def is_running(pid: int) -> bool:
    """Return whether a process of this host has this number, whoever owns it."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return _fields(pid)[:1] != ["Z"]  # a zombie has ended


def started_at(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None where that is not known.

    Numbers of processes are reused; number and start together are not. From /proc/PID/stat, whose
    22nd field it is: proc(5).
    """
    fields = _fields(pid)
    return int(fields[19]) if len(fields) > 19 else None


def _fields(pid: int) -> list[str]:
    """Return /proc/PID/stat from its third field on, the state; empty where it cannot be read."""
    try:
        # A process may have any bytes in its name, a cut character among them.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
