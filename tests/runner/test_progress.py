"""How far a job is, for people and for programs."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timezone
from typing import Any

import pytest
from conftest import RunJob, WritePrompts

from batchgen.config.models import FakeModel
from batchgen.runner import progress
from batchgen.runner.progress import Progress, line
from batchgen.storage.folder import JobFolder


@pytest.fixture
def counted(folder: JobFolder) -> Progress:
    """Ten images, four done and one failed before this start."""
    folder.create()
    failed = Counter({"ImageError": 1})
    return Progress(folder, "r1", n_images=10, n_done=4, failed_before=failed)


def status_of(folder: JobFolder) -> dict[str, Any]:
    """Return what status.json says."""
    status: dict[str, Any] = json.loads(folder.status_json.read_text())
    return status


def status(**changed: Any) -> dict[str, Any]:
    """Return the status of a job half-way."""
    base = {"n_done": 50, "n_images": 100, "n_failed": 0, "n_left": 50}
    return {**base, "images_per_s": 0.5, "left_s": 100.0, **changed}


def test_status_says_who_where_and_how_far(counted: Progress, folder: JobFolder) -> None:
    """All that `batchgen status` and a dashboard need."""
    counted.done([("k5", 0), ("k6", 0)])
    counted.enter("running")
    found = status_of(folder)
    assert found["state"] == "running"
    assert (found["run_id"], found["host"], found["pid"]) == (
        "r1",
        socket.gethostname(),
        os.getpid(),
    )
    assert [found[name] for name in ("n_images", "n_done", "n_failed", "n_left")] == [10, 6, 1, 3]
    assert found["failed_by_type"] == {"ImageError": 1}


def test_times_are_utc(counted: Progress, folder: JobFolder) -> None:
    """Started and heartbeat can be compared on any host."""
    counted.write()
    for name in ("started", "heartbeat"):
        moment = datetime.fromisoformat(status_of(folder)[name])
        assert moment.tzinfo is not None
        assert abs((datetime.now(timezone.utc) - moment).total_seconds()) < 60


def test_rate_counts_this_start_only(counted: Progress) -> None:
    """After a resume the time left is not made of yesterday's images."""
    assert counted.snapshot()["images_per_s"] == 0
    assert counted.snapshot()["left_s"] is None
    time.sleep(0.05)
    counted.done([("k5", 0)])
    found = counted.snapshot()
    assert 0 < found["images_per_s"] <= 1 / 0.05
    assert found["left_s"] == pytest.approx(4 / found["images_per_s"], rel=0.1)


def test_bar_starts_where_the_job_stands(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal, and after a resume too."""
    folder.create()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    resumed = Progress(folder, "r1", n_images=10, n_done=4, failed_before=Counter())
    with resumed.started(lambda: None):
        resumed.done([("k5", 0)])
    shown = capsys.readouterr().err
    assert "4/10" in shown
    assert "5/10" in shown


def test_retry_that_works_is_no_failure_any_more(counted: Progress) -> None:
    """A second failure of an image is still one image."""
    counted.failed(("k5", 0), "ImageError")
    counted.failed(("k5", 0), "BlankImage")
    assert (counted.n_failed, counted.n_left) == (2, 4)
    assert counted.snapshot()["failed_by_type"] == {"ImageError": 1, "BlankImage": 1}
    counted.done([("k5", 0)])
    assert (counted.n_failed, counted.n_done, counted.n_left) == (1, 5, 4)


def test_heartbeat_goes_on_while_nothing_happens(
    counted: Progress, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch may take minutes; the lock beats along."""
    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.01)
    beats = threading.Semaphore(0)
    with counted.started(beats.release):
        first = status_of(folder)["heartbeat"]
        assert beats.acquire(timeout=5)
        assert beats.acquire(timeout=5)
        assert status_of(folder)["heartbeat"] > first


def test_without_a_terminal_a_line_is_written_now_and_then(
    counted: Progress, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a Slurm log shows."""
    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(progress, "LINE_S", 0.02)
    beats = threading.Semaphore(0)
    with counted.started(beats.release):
        for _ in range(6):
            assert beats.acquire(timeout=5)
    assert "4/10 images, 1 failed, 5 to go" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, "50/100 images, 50 to go, 0.5 images/s, 2 min left"),
        ({"n_failed": 3}, "50/100 images, 3 failed, 50 to go, 0.5 images/s, 2 min left"),
        ({"left_s": 7200.0}, "50/100 images, 50 to go, 0.5 images/s, 2.0 h left"),
        ({"left_s": None}, "50/100 images, 50 to go, 0.5 images/s, time left unknown"),
        ({"left_s": 0.0, "n_left": 0}, "50/100 images, 0 to go, 0.5 images/s, 0 min left"),
    ],
)
def test_line_says_done_left_rate_and_time_left(changed: dict[str, Any], text: str) -> None:
    """One line, in words."""
    assert line(status(**changed)) == text


def test_status_of_a_job_at_its_end(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """The last word stays in the folder."""
    prompts(4)
    run_job(model=FakeModel(fail_rows=[2]), retry={"max_attempts": 1})
    found = status_of(folder)
    assert found["state"] == "finished"
    assert [found[name] for name in ("n_images", "n_done", "n_failed", "n_left")] == [4, 3, 1, 0]
    assert found["failed_by_type"] == {"ImageError": 1}


def test_status_of_a_resumed_job_counts_what_was_there(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Done and failed of earlier starts included."""
    prompts(6)
    run_job(model=FakeModel(fail_rows=[2]), retry={"max_attempts": 1}, limit=4)
    run_job(model=FakeModel(fail_rows=[2]), retry={"max_attempts": 1})
    found = status_of(folder)
    assert [found[name] for name in ("n_images", "n_done", "n_failed", "n_left")] == [6, 5, 1, 0]
    assert found["failed_by_type"] == {"ImageError": 1}


def test_rate_leaves_loading_and_warm_up_out(
    counted: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 s of loading, 60 s of compiling with one image, then one image a second."""
    start = counted._started
    clock = {"now": start + 100}
    monkeypatch.setattr(time, "time", lambda: clock["now"])
    counted.enter("running")
    clock["now"] = start + 160
    counted.done([("k5", 0)])
    counted.warmed_up(60.0, 1)
    only_warm = counted.snapshot()
    assert only_warm["images_per_s"] == pytest.approx(1 / 160, abs=1e-4)
    clock["now"] = start + 162
    counted.done([("k6", 0), ("k7", 0)])
    found = counted.snapshot()
    assert (found["load_s"], found["warm_up_s"]) == (100.0, 60.0)
    assert found["images_per_s"] == 1.0
    assert found["left_s"] == 2.0
