"""What a failure costs, decided without a pipeline, a disk or a ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import image_of

from batchgen.config.job import RetryConfig
from batchgen.config.settings import Settings
from batchgen.errors import CircuitOpen, DeviceOutOfMemory, ImageError, ProcessDied
from batchgen.ledger.state import Suspect
from batchgen.runner.failures import Charge, Failures
from batchgen.runner.maker import Failed


class Device:
    """A device that makes test pictures, or does not."""

    def __init__(self, *, works: bool = True) -> None:
        self.works = works
        self.asked: list[Settings] = []

    def __call__(self, settings: Settings) -> bool:
        """Make a test picture."""
        self.asked.append(settings)
        return self.works

    def failures(self, before: dict[int, int] | None = None, *, most: int = 3) -> Failures:
        """Return the failures of a start; `before` has the tries of rows in earlier ones."""
        attempts = {image_of(row).key: n for row, n in (before or {}).items()}
        retry = RetryConfig(max_attempts=3, max_consecutive_failures=most)
        return Failures(retry, attempts, is_working=self, log=Path("log.txt"))


def failed(row: int, error: Exception | None = None) -> Failed:
    """Return the failure of a row."""
    return Failed(image_of(row), error or ImageError(f"row {row} fails"), 1)


def told(charges: list[Charge]) -> list[tuple[int, int, bool]]:
    """Return row, attempt and whether it is final of each charge."""
    return [(c.failed.request.row_index, c.attempt, c.is_final) for c in charges]


def test_a_failure_is_charged_once_a_picture_came_out() -> None:
    """Until then it may be the device's; afterwards it waits for the next picture."""
    failures = Device().failures()
    assert failures.failed(failed(0)) == []
    assert told(failures.succeeded()) == [(0, 1, False)]
    assert failures.failed(failed(1)) == []
    assert told(failures.succeeded()) == [(1, 1, False)]
    assert failures.succeeded() == []


def test_rows_that_have_tries_left_are_tried_again_once() -> None:
    """A second failure of the same start is charged at once."""
    failures = Device().failures()
    failures.failed(failed(0))
    failures.succeeded()
    assert [image.row_index for image in failures.to_try_again()] == [0]
    assert failures.to_try_again() == []
    assert told(failures.failed(failed(0))) == [(0, 2, False)]
    assert failures.to_try_again() == []


def test_the_last_try_is_final_and_tried_no_more() -> None:
    """Tries of earlier starts count."""
    failures = Device().failures({0: 2})
    failures.succeeded()
    assert told(failures.failed(failed(0))) == [(0, 3, True)]
    assert failures.to_try_again() == []


def test_a_run_of_failures_opens_the_circuit_and_charges_nobody() -> None:
    """The message names the last row and the log."""
    failures = Device().failures()
    for row in (0, 1):
        failures.failed(failed(row))
    with pytest.raises(
        CircuitOpen, match=r"3 rows failed one after another.* row 2, with ImageError.*log\.txt"
    ):
        failures.failed(failed(2))
    assert failures.settled() == []
    assert failures.attempt(image_of(0).key) == 1


def test_a_picture_between_ends_the_run() -> None:
    """And several images of one row count as one."""
    failures = Device().failures()
    for row in (0, 1, 1, 1):
        failures.failed(failed(row))
    assert len(failures.succeeded()) == 4
    assert failures.failed(failed(2)) == []


@pytest.mark.parametrize("works", [True, False])
def test_where_no_picture_came_out_a_test_picture_decides(works: bool) -> None:
    """With the settings of an image that failed."""
    device = Device(works=works)
    failures = device.failures()
    failures.failed(failed(4))
    if works:
        assert told(failures.settled()) == [(4, 1, False)]
    else:
        with pytest.raises(CircuitOpen, match="row 4"):
            failures.settled()
    assert device.asked == [image_of(4).settings]


def test_out_of_memory_shows_that_the_device_answers() -> None:
    """No test picture is needed."""
    device = Device(works=False)
    failures = device.failures()
    failures.failed(failed(0, DeviceOutOfMemory("full")))
    assert told(failures.settled()) == [(0, 1, False)]
    assert device.asked == []


def test_rows_that_failed_before_open_nothing_unless_the_device_is_out() -> None:
    """They may all fail again for reasons of their own."""
    device = Device()
    failures = device.failures({0: 1, 1: 1, 2: 1})
    charges = [charge for row in range(3) for charge in failures.failed(failed(row))]
    assert told(charges) == [(0, 2, False), (1, 2, False), (2, 2, False)]
    assert len(device.asked) == 1


def test_an_image_that_killed_its_process_too_often_is_given_up() -> None:
    """As often as an image may fail; the reason is that of the last death."""
    failures, suspect = Device().failures({0: 2, 1: 3}), Suspect(reason="Fatal: abort")
    assert failures.given_up(image_of(0), suspect) is None
    assert failures.given_up(image_of(1), None) is None
    charge = failures.given_up(image_of(1), suspect)
    assert charge is not None
    assert told([charge]) == [(1, 3, True)]
    assert isinstance(charge.failed.error, ProcessDied)
    assert str(charge.failed.error) == "the process died 3 times: Fatal: abort"
