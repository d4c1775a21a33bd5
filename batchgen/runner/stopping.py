"""Reasons to stop while there is work left: signals, the clock, a device that hangs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from batchgen.errors import ExitCode, Stopped

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class _Interrupted(KeyboardInterrupt):
    """A signal; no `except Exception` of a library takes it for an error of its own."""


class Stop:
    """Why the job should stop after the batch in flight; None while it should not."""

    def __init__(self, max_hours: float | None) -> None:
        self._ends = None if max_hours is None else time.monotonic() + max_hours * 3600
        self._reason: str | None = None
        self._is_signalled = False
        self._is_interruptible = False
        self.on_leaving: Callable[[], None] = lambda: None
        """Called before the process ends at once, to release what other processes wait for."""

    def leave(self) -> None:
        """End the process at once; what is committed is safe."""
        try:
            self.on_leaving()
        finally:
            os._exit(ExitCode.stopped)

    @property
    def reason(self) -> str | None:
        """The reason in a few words."""
        if self._reason is None and self._ends is not None and time.monotonic() >= self._ends:
            self._reason = "stop.max_hours is over"
        return self._reason

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take the signals as a request to stop; the second ends the process.

        One that is ignored stays so, as SIGHUP under nohup. Outside the main thread, where Python
        allows no handlers, this changes nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard = [one for one in SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._on_signal) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a signal end the block at once: nothing in it must be finished first.

        Raises `Stopped` for a signal that came before or comes within it.
        """
        self._is_interruptible = True
        try:
            if self._is_signalled:
                self._interrupt()
            yield
        except _Interrupted:
            raise Stopped(
                f"stopped by {self._reason}; what is committed is safe, and the same command "
                "resumes it."
            ) from None
        finally:
            self._is_interruptible = False

    def _interrupt(self) -> NoReturn:
        raise _Interrupted

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._is_signalled:
            self.leave()
        self._is_signalled = True
        self._reason = signal.Signals(number).name
        if self._is_interruptible:
            self._interrupt()
        said = (
            f"\nbatchgen: {self._reason}: the batch in flight is finished and committed; a second "
            "signal leaves at once\n"
        )
        # Not by sys.stderr, which may be in the middle of a line.
        with contextlib.suppress(OSError):
            os.write(2, said.encode())


class Watchdog:
    """Ends the process when a batch takes too long: a native call cannot be interrupted.

    `on_hang` is called first, from the watchdog's thread, to record what hung.
    """

    def __init__(
        self,
        batch_s: float | None,
        on_hang: Callable[[float], None],
        leave: Callable[[], None],
    ) -> None:
        self._batch_s = batch_s
        self._on_hang = on_hang
        self._leave = leave

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the body of the `with` block."""
        if self._batch_s is None:
            yield
            return
        timer = threading.Timer(self._batch_s, self._on_timeout)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _on_timeout(self) -> None:
        try:
            self._on_hang(float(self._batch_s or 0))
        finally:
            self._leave()
