"""One process at a time in a job's folder, on every file system that can create a file exclusively.

Two means together. `flock` on the file `lock` ends with its process, but Lustre and some NFS mounts
lack it or keep it to one host. A second file, the **claim**, is created exclusively and names its
process; one that a dead process left is taken over. Whether a process of another host is alive is
told by its heartbeat, the content of `lock`: it is watched until it changes, or for `STALE_S`. The
clocks of two hosts are never compared.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import secrets
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from batchgen.errors import JobInUse, StorageError
from batchgen.storage.atomic import opening_errors, reading_errors, storage_errors
from batchgen.storage.kinds import refuse_link_or_no_file
from batchgen.storage.processes import is_running, started_at

logger = logging.getLogger(__name__)

STALE_S = 60.0
"""Seconds without a heartbeat after which the lock of another host is taken over."""

_POLL_S = 0.25
_LENGTH = 512
_NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class FolderLock:
    """Holds a job's folder from `with` to its end. Raises `JobInUse` where another process does."""

    def __init__(self, path: Path, of: Path | None = None, choice: str = "name=") -> None:
        """Take the lock's path; what it is of, and which choice avoids that, are said."""
        self._path = path
        self._of, self._choice = of or path.parent.parent, choice
        self._claim = path.with_name(f"{path.name}.claim")
        self._guard = path.with_name(f"{path.name}.takeover")
        self._descriptor = -1
        self._started = time.time()
        self._content = json.dumps({**self._holder(), "token": secrets.token_hex(8)}).encode()

    def __enter__(self) -> FolderLock:
        self._refuse_no_files()
        with opening_errors(self._path):
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            with opening_errors(self._claim):
                self._take_claim(has_flock=self._flock())
            self.beat()
        except BaseException:
            self._leave_claim()
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
        # What is left behind is taken over by the next start.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        self._leave_claim()

    def _leave_claim(self) -> None:
        """Delete the claim, if it is ours."""
        with contextlib.suppress(OSError):
            if self._read_claim() == self._content:
                self._claim.unlink()

    def _refuse_no_files(self) -> None:
        """Raise `FolderError` for a link or a FIFO in the place of a file: it is waited for."""
        with reading_errors(self._path.parent):
            for path in (self._path, self._claim, self._guard):
                refuse_link_or_no_file(path)

    def beat(self) -> None:
        """Write who holds the lock, and a new heartbeat."""
        content = json.dumps({**self._holder(), "heartbeat": time.time()}).encode()
        with storage_errors(self._path):
            os.pwrite(self._descriptor, content.ljust(_LENGTH), 0)
            os.ftruncate(self._descriptor, _LENGTH)

    def check(self) -> None:
        """Raise `StorageError` where the folder is no longer at its path, or no longer ours."""
        root = self._path.parent.parent
        with contextlib.suppress(OSError):
            if os.path.samestat(self._path.stat(), os.fstat(self._descriptor)):
                claim = self._read_claim()
                if claim in (self._content, None):
                    return
                raise StorageError(
                    f"{root} was taken over by another start, as no heartbeat of this one was seen "
                    f"for {STALE_S:.0f} s: {self._message(_holder_in(claim))}"
                )
        raise StorageError(
            f"{root} is no longer the folder of this job: it was renamed, deleted or unmounted. "
            "Nothing more is written there. What was committed is in the folder: put it back, or "
            "start the job with its new name=."
        )

    def probe(self) -> None:
        """Raise `JobInUse` if another process holds the folder; takes nothing."""
        self._refuse_no_files()
        with reading_errors(self._path):
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                has_flock = self._flock()
                claim = self._read_claim()
                if claim and self._is_alive(claim, has_flock=has_flock):
                    raise JobInUse(self._message(_holder_in(claim)))
            finally:
                os.close(self._descriptor)

    def _holder(self) -> dict[str, Any]:
        pid = os.getpid()
        return {
            "host": socket.gethostname(),
            "pid": pid,
            "pid_started": started_at(pid),
            "started": self._started,
        }

    def _flock(self) -> bool:
        """Take the file's lock and return True, or False where the file system has none."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JobInUse(self._message(_holder_in(self._heartbeat()))) from None
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            return False
        return True

    def _take_claim(self, *, has_flock: bool) -> None:
        before = self._heartbeat()
        if not self._claim.exists() and _holder_in(before):
            # Version 0.1.0 writes no claim.
            self._refuse_if_alive(before, has_flock=has_flock)
        while not _created(self._claim, self._content):
            claim = self._read_claim()
            if claim is not None:
                self._refuse_if_alive(claim, has_flock=has_flock)
                self._drop_claim(claim)
        # Nobody takes over from the living; a mark that is there was left by a dead start.
        self._guard.unlink(missing_ok=True)

    def _refuse_if_alive(self, content: bytes, *, has_flock: bool) -> None:
        if self._is_alive(content, has_flock=has_flock):
            raise JobInUse(self._message(_holder_in(content)))

    def _is_alive(self, content: bytes, *, has_flock: bool) -> bool:
        """Return whether the process that wrote a claim lives; watches that of another host."""
        holder = _holder_in(content)
        if holder and holder["host"] == socket.gethostname():
            # With flock in hand, no other process of this host can be at work.
            return not has_flock and _is_same_process(holder)
        before = (self._heartbeat(), self._read_claim())
        logger.warning(
            "%s was last held by process %s on host %s: watching its heartbeat for up to %.0f s.",
            self._path.parent.parent, holder.get("pid", "?"), holder.get("host", "?"), STALE_S,
        )  # fmt: skip
        ends = time.monotonic() + STALE_S
        while time.monotonic() < ends:
            time.sleep(_POLL_S)
            if (self._heartbeat(), self._read_claim()) != before:
                return True
        return False

    def _heartbeat(self) -> bytes:
        return os.pread(self._descriptor, 4096, 0)

    def _read_claim(self) -> bytes | None:
        try:
            return self._claim.read_bytes()
        except FileNotFoundError:
            return None

    def _drop_claim(self, stale: bytes) -> None:
        """Delete the claim of a dead process, unless another start was faster."""
        guard = json.dumps(self._holder()).encode()
        if not _created(self._guard, guard):
            self._drop_guard()
            return
        try:
            if self._read_claim() == stale:
                self._claim.unlink(missing_ok=True)
        finally:
            self._guard.unlink(missing_ok=True)

    def _drop_guard(self) -> None:
        """Wait for another start's takeover; delete its mark where it died over it."""
        ends = time.monotonic() + STALE_S
        while time.monotonic() < ends:
            try:
                holder = _holder_in(self._guard.read_bytes())
            except FileNotFoundError:
                return
            is_here = holder.get("host") == socket.gethostname()
            if is_here and not _is_same_process(holder):
                break
            time.sleep(_POLL_S)
        self._guard.unlink(missing_ok=True)

    def _message(self, holder: dict[str, Any]) -> str:
        age = time.time() - holder.get("started", time.time())
        since = f", for {age:.0f} s" if holder.get("host") == socket.gethostname() else ""
        return (
            f"{self._of} is in use by process {holder.get('pid', '?')} on host "
            f"{holder.get('host', '?')}{since}. Wait for it, stop it, or choose another "
            f"{self._choice}."
        )


def _created(path: Path, content: bytes) -> bool:
    """Create a file with its content and return True, or False where there is one already."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    draft.write_bytes(content)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    finally:
        draft.unlink(missing_ok=True)
    return True


def _holder_in(content: bytes | None) -> dict[str, Any]:
    """Return who wrote a lock or a claim; empty where nobody did or it is damaged."""
    try:
        holder = json.loads((content or b"").rstrip(b"\0 ").decode() or "{}")
        return {
            "host": str(holder["host"]),
            "pid": int(holder["pid"]),
            "pid_started": holder.get("pid_started"),
            "started": float(holder["started"]),
        }
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError, AttributeError):
        return {}


def _is_same_process(holder: dict[str, Any]) -> bool:
    """Return whether a process of this host that wrote a claim still runs."""
    pid, started = holder["pid"], holder.get("pid_started")
    if not is_running(pid) or (pid == os.getpid() and started is None):
        return False
    return started is None or started_at(pid) in (None, started)
