"""One process at a time in a job's folder.

`flock` where the file system has it. Lustre and some NFS mounts do not, or keep it to one host;
the file's content, with its heartbeat, guards those.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from batchgen.errors import JobInUse
from batchgen.storage.atomic import opening_errors, storage_errors
from batchgen.storage.processes import is_running

STALE_S = 60.0
"""A lock of another host whose heartbeat is older than this is left over from a dead process."""

_LENGTH = 512
_NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class FolderLock:
    """Holds a job's folder from `with` to its end. Raises `JobInUse` where another process does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._started = time.time()

    def __enter__(self) -> FolderLock:
        with opening_errors(self._path):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            self._take()
            self.beat()
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear()
        os.close(self._descriptor)

    def clear(self) -> None:
        """Mark the folder as free; flock itself ends with the process."""
        with contextlib.suppress(OSError):  # a lock left behind is stale, and known to be
            os.ftruncate(self._descriptor, 0)

    def beat(self) -> None:
        """Write who holds the lock, and that it is alive."""
        holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": self._started,
            "heartbeat": time.time(),
        }
        content = json.dumps(holder).encode()
        with storage_errors(self._path):
            os.pwrite(self._descriptor, content.ljust(_LENGTH), 0)
            os.ftruncate(self._descriptor, _LENGTH)

    def probe(self) -> None:
        """Raise `JobInUse` if another process holds the folder, and release it at once."""
        self._descriptor = os.open(self._path, os.O_RDONLY)
        try:
            self._take()
        finally:
            os.close(self._descriptor)

    def _take(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours_by_flock = True
        except BlockingIOError:
            raise JobInUse(self._message(self._holder())) from None
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            is_ours_by_flock = False
        holder = self._holder()
        if holder and self._is_alive(holder, is_ours_by_flock=is_ours_by_flock):
            raise JobInUse(self._message(holder))

    def _holder(self) -> dict[str, Any]:
        """Return who wrote the lock last; empty where nobody did or it is damaged."""
        try:
            holder = json.loads(os.pread(self._descriptor, 4096, 0).decode() or "{}")
            return {
                "host": str(holder["host"]),
                "pid": int(holder["pid"]),
                "started": float(holder["started"]),
                "heartbeat": float(holder["heartbeat"]),
            }
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            return {}

    @staticmethod
    def _is_alive(holder: dict[str, Any], *, is_ours_by_flock: bool) -> bool:
        if holder["host"] != socket.gethostname():
            return bool(time.time() - holder["heartbeat"] < STALE_S)
        is_other = holder["pid"] != os.getpid()
        return not is_ours_by_flock and is_other and is_running(holder["pid"])

    def _message(self, holder: dict[str, Any]) -> str:
        now = time.time()
        age, beat = now - holder.get("started", now), now - holder.get("heartbeat", now)
        return (
            f"{self._path.parent.parent} is in use by process {holder.get('pid', '?')} on host "
            f"{holder.get('host', '?')}, for {age:.0f} s, last heard of {beat:.0f} s ago. "
            "Wait for it, stop it, or choose another name=."
        )
