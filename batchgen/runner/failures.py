"""What a failure costs: held back, charged, tried again, or the end of the job.

Knows no pipeline, no disk and no ledger: failures and successes go in, charges to record come out.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

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
    """Whether no tries are left."""


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
        """Begin with what earlier starts know.

        Args:
            retry: The limits.
            attempts: Tries that each image had before, for those that failed.
            is_working: Makes a test picture with the settings of a failed image and says whether it
                came out; called where failures are to be charged and no picture came out so far.
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
        """Take in a picture: the device works, so what was held back is charged."""
        self._has_success = True
        return self._released()

    def failed(self, failed: Failed) -> list[Charge]:
        """Take in a failure and return what is charged now.

        Raises:
            CircuitOpen: Failures ran on; none of them is charged.
        """
        logger.warning("row %d failed: %s", failed.request.row_index, failed.message)
        is_retry = failed.request.key in self._attempts
        if is_retry and self._has_success:
            return [self.charge(failed)]
        self._held.append(failed)
        n_rows = self._n_rows_held()
        if n_rows < self._retry.max_consecutive_failures:
            return []
        # Rows that failed before fail again for reasons of their own; that says nothing yet.
        if not is_retry:
            self._open(n_rows)
        return self.settled()

    def settled(self) -> list[Charge]:
        """Return the charges for what is held back, at the end of a pass over the batches.

        Where no picture came out so far, a test picture is made first. Out of memory is the answer
        of a device that works.

        Raises:
            CircuitOpen: The test picture did not come out, either.
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
        died = ProcessDied(f"the process died {attempts} times: {suspect.reason}")
        return self.charge(Failed(request, died, 1))

    def charge(self, failed: Failed) -> Charge:
        """Charge a failure to its image, whatever the device does; safe in any thread."""
        with self._lock:
            attempt = self.attempt(failed.request.key)
            self._attempts[failed.request.key] = attempt
        return Charge(failed, attempt, is_final=attempt >= self._retry.max_attempts)

    def to_try_again(self) -> list[ImageRequest]:
        """Return the images that failed in this start and have tries left; each is told once."""
        again, self._again = self._again, []
        return again

    def _released(self) -> list[Charge]:
        """Charge the failures held back, and note the images for another try."""
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
            f"{n_rows} rows in a run failed, the last, row {last.request.row_index}, with "
            f"{type(last.error).__name__}: {last.error}. Look at the device and at "
            f"{self._log}; no row is charged with it."
        ) from last.error
