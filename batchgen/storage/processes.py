"""Whether a process of this host is there."""

from __future__ import annotations

import os


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
    return True
