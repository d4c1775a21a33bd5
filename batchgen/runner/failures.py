"""What follows from a failure: it is held back, charged, retried, or the job stops.

No pipeline, disk or ledger: failures and successes go in, charges to record come out.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from batchgen.config.counts import counted
from batchgen.config.job import RetryConfig
from batchgen.config.settings import Settings
from batchgen.errors import CircuitOpen, DeviceOutOfMemory, ProcessDied
from batchgen.ledger.records import Key
from batchgen.ledger.state import Suspect
from batchgen.plan.requests import ImageRequest
from batchgen.runner.maker import Failed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Charge:
    """A failure that counts as one of an image's attempts."""

    failed: Failed
    attempt: int
    """Which try of the image failed, from 1, earlier starts included."""
    is_final: bool
    """Whether no attempts are left."""


class Failures:
    """Decides about the failures of one start.

    A failure may be the image's or the device's. It is held back until a picture shows that the
    device works, and is charged to its image then. A run of failures without a picture between
    opens the circuit, and no image is charged.
    """

    def __init__(
        self,
        retry: RetryConfig,
        attempts: Mapping[Key, int],
        *,
        is_working: Callable[[Settings], bool],
        log: Path,
    ) -> None:
        """Begin with what earlier starts recorded.

        Args:
            retry: The limits.
            attempts: Tries that each image had before, for those that failed.
            is_working: Makes a test picture with the settings of a failed image; returns whether it
                succeeded. Called before failures are charged while no picture succeeded so far.
            log: Where messages tell the user to look.
        """
        self._retry = retry
        self._attempts = dict(attempts)
        self._is_working = is_working
        self._log = log
        self._held: list[Failed] = []
        self._again: list[ImageRequest] = []
        self._has_success = False
        self._lock = threading.Lock()

    def attempt(self, key: Key) -> int:
        """Return which try of an image the next one is, from 1."""
        return self._attempts.get(key, 0) + 1

    def succeeded(self) -> list[Charge]:
        """Note a picture: the device works, so failures held back are charged."""
        self._has_success = True
        return self._released()

    def failed(self, failed: Failed) -> list[Charge]:
        """Note a failure and return what is charged now.

        Raises:
            CircuitOpen: Too many rows failed one after another; none of them is charged.
        """
        logger.warning("row %d failed: %s", failed.request.row_index, failed.message)
        is_retry = failed.request.key in self._attempts
        if is_retry and self._has_success:
            return [self.charge(failed)]
        self._held.append(failed)
        n_rows = self._n_rows_held()
        if n_rows < self._retry.max_consecutive_failures:
            return []
        # Rows that failed before are expected to fail again; that is not a sign of a broken device.
        if not is_retry:
            self._open(n_rows)
        return self.settled()

    def settled(self) -> list[Charge]:
        """Return the charges for what is held back, at the end of a pass over the batches.

        Where no picture was made so far, a test picture is made first. A device that reports out of
        memory works.

        Raises:
            CircuitOpen: The test picture failed as well.
        """
        is_clear = all(isinstance(held.error, DeviceOutOfMemory) for held in self._held)
        if not self._has_success and not is_clear:
            self._has_success = self._is_working(self._held[-1].request.settings)
            if not self._has_success:
                self._open(self._n_rows_held())
        return self._released()

    def given_up(self, request: ImageRequest, suspect: Suspect | None) -> Charge | None:
        """Return the charge for an image that killed its process as often as an image may fail."""
        attempts = self._attempts.get(request.key, 0)
        if suspect is None or attempts < self._retry.max_attempts:
            return None
        self._attempts[request.key] = attempts - 1
        times = "once" if attempts == 1 else f"{attempts:,} times"
        died = ProcessDied(f"the process died {times}: {suspect.reason}")
        return self.charge(Failed(request, died, 1))

    def died(self, request: ImageRequest) -> None:
        """Note that a worker died while it made this image alone; it counts as an attempt."""
        with self._lock:
            self._attempts[request.key] = self._attempts.get(request.key, 0) + 1

    def charge(self, failed: Failed) -> Charge:
        """Charge a failure to its image; may be called from any thread."""
        with self._lock:
            attempt = self.attempt(failed.request.key)
            self._attempts[failed.request.key] = attempt
        return Charge(failed, attempt, is_final=attempt >= self._retry.max_attempts)

    def to_try_again(self) -> list[ImageRequest]:
        """Return the images that failed in this start and have attempts left, each once."""
        again, self._again = self._again, []
        return again

    def _released(self) -> list[Charge]:
        """Charge the failures held back, and note the images for another attempt."""
        held, self._held = self._held, []
        charges = []
        for failed in held:
            is_retry = failed.request.key in self._attempts
            charges.append(self.charge(failed))
            if not is_retry and not charges[-1].is_final:
                self._again.append(failed.request)
        return charges

    def _n_rows_held(self) -> int:
        return len({held.request.row_key for held in self._held})

    def _open(self, n_rows: int) -> None:
        """Stop the job without charging any image."""
        last, self._held = self._held[-1], []
        raise CircuitOpen(
            f"{counted(n_rows, 'row')} failed one after another, the last, row "
            f"{last.request.row_index}, with {type(last.error).__name__}: {last.error}. Look at "
            f"the device and at {self._log}; no row is charged with it."
        ) from last.error
