"""When to stop although there is work left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
from conftest import StartCommand, WritePrompts

from batchgen.errors import StorageError
from batchgen.ledger.contents import consistently, read_contents
from batchgen.runner.stopping import SIGNALS, Stop, Watchdog
from batchgen.storage.folder import JobFolder

WaitUntil = Callable[[Callable[[], object]], None]


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_is_a_wish_to_stop(number: signal.Signals) -> None:
    """The reason is its name, and the process goes on."""
    stop = Stop(None)
    with stop.on_signals():
        assert stop.reason is None
        os.kill(os.getpid(), number)
        assert stop.reason == number.name


def test_handlers_are_put_back() -> None:
    """A program that calls `batchgen.run` keeps its own."""
    before = [signal.getsignal(number) for number in SIGNALS]
    with Stop(None).on_signals():
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_other_threads_leave_the_signals_alone() -> None:
    """Python allows handlers in the main thread only; a job may run in any."""
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def run() -> None:
        with Stop(None).on_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_max_hours_is_a_reason_once_they_are_over() -> None:
    """Not before; and no limit never is."""
    assert Stop(None).reason is None
    assert Stop(1).reason is None
    assert Stop(0).reason == "stop.max_hours is over"


def test_signalled_job_finishes_its_batch_and_can_go_on(
    prompts: WritePrompts, start: StartCommand, folder: JobFolder, wait_until: WaitUntil
) -> None:
    """Commit, compact, 75; then the same command ends the job."""
    prompts(12)
    started = start("batch_size=4", "model.latency_s=0.1")
    wait_until(lambda: list(folder.root.glob("images/*/*.png")))
    started.send(signal.SIGTERM)
    assert started.exit_code() == 75
    assert "stopped by SIGTERM; the same command resumes it" in started.said
    assert [s.path for s in read_contents(folder).sources] == [folder.metadata]
    assert read_contents(folder).sources[0].n_rows in (4, 8)
    assert start("batch_size=4").exit_code() == 0


def test_second_signal_leaves_at_once(
    prompts: WritePrompts, start: StartCommand, folder: JobFolder, wait_until: WaitUntil
) -> None:
    """In the middle of a batch that would take for ever."""
    prompts(2)
    started = start("model.latency_s=1000")
    wait_until(lambda: any(read_in_flight(folder)))
    started.send(signal.SIGINT)
    wait_until(lambda: "a second signal leaves at once" in started.said)
    assert started.process.is_alive()
    began = time.monotonic()
    started.send(signal.SIGINT)
    assert started.exit_code() == 75
    assert time.monotonic() - began < 5


def read_in_flight(folder: JobFolder) -> list[object]:
    """Return which images a running job says it is making."""
    contents = consistently(folder, lambda: read_contents(folder))
    return [key for source in contents.journals if source.unsealed
            for keys in source.unsealed.in_flight.values() for key in keys]  # fmt: skip


def test_watchdog_ends_a_hung_process_with_75(
    prompts: WritePrompts, start: StartCommand, folder: JobFolder
) -> None:
    """A stuck native call knows no other end; what hung is on record."""
    prompts(3)
    started = start("model.hang_rows=[1]", "timeout.batch_s=0.3")
    assert started.exit_code() == 75
    (suspect,) = read_contents(folder).state.suspects.items()
    assert suspect[0] == ("k1", 0)
    assert suspect[1].reason == "DeviceHung: over timeout.batch_s=0.3"


def test_watchdog_sleeps_while_batches_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch has the whole time for itself; between two nobody watches."""
    bites: list[float] = []
    monkeypatch.setattr(os, "_exit", lambda _: None)
    watchdog = Watchdog(0.2, bites.append, lambda: None)
    for _ in range(3):
        with watchdog.watching():
            time.sleep(0.1)
    time.sleep(0.3)
    assert bites == []


def test_watchdog_bites_though_its_last_words_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not keep a hung process alive."""
    exits: list[int] = []
    bitten = threading.Event()

    def leave(code: int) -> None:
        exits.append(code)
        bitten.set()

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def last_words(_: float) -> None:
        raise StorageError("full")

    with Watchdog(0.01, last_words, Stop(None).leave).watching():
        assert bitten.wait(5)
    assert exits == [75]


def test_without_a_limit_no_watchdog_runs() -> None:
    """The default waits for ever."""
    n_threads = threading.active_count()
    with Watchdog(None, lambda _: None, lambda: None).watching():
        assert threading.active_count() == n_threads
