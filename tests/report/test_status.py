"""`batchgen status`, from files alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from conftest import RunJob, StartCommand, WritePrompts

from batchgen.config.models import FakeModel
from batchgen.errors import FolderError
from batchgen.report.status import status_lines, status_objects
from batchgen.storage.folder import JobFolder


def test_a_finished_job_says_what_failed_by_type(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Done, failed, left, and the kinds of errors."""
    prompts(4)
    run_job(model=FakeModel(fail_rows=[2]))
    first, second = status_lines(folder.root)
    assert "finished" in first
    assert "3/4 images, 1 failed, 0 to go" in first
    assert second == "  1 failed with ImageError"


def test_all_jobs_under_a_folder_are_listed(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """With no folder named, those under the output folder."""
    prompts(1)
    run_job()
    run_job(name="other")
    lines = list(status_lines(None, folder.root.parent))
    assert [line.partition(":")[0] for line in lines] == [
        str(folder.root.parent / "other"),
        str(folder.root),
    ]


def test_a_job_without_a_heartbeat_has_died(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Its last word was that it runs, an hour ago."""
    prompts(1)
    run_job()
    status = json.loads(folder.status_json.read_text())
    hour_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    folder.status_json.write_text(
        json.dumps({**status, "state": "running", "heartbeat": hour_ago.isoformat()})
    )
    (line,) = status_lines(folder.root)
    assert "died while running, last heartbeat 3600 s ago; the same command resumes it" in line


def test_each_worker_of_a_job_at_work_has_a_line(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """And none once the job has ended."""
    prompts(1)
    run_job()
    now = datetime.now(timezone.utc).isoformat()
    worker = {
        "worker": 3, "device": "host NPU 5", "n_made": 1200, "images_per_s": 0.25,
        "peak_memory_bytes": 3 * 2**30, "heartbeat": now,
    }  # fmt: skip
    status = {
        **json.loads(folder.status_json.read_text()), "heartbeat": now, "pid": os.getpid(),
        "workers": [worker],
    }  # fmt: skip
    folder.status_json.write_text(json.dumps({**status, "state": "running"}))
    _, line = status_lines(folder.root)
    assert line == (
        "  worker 3, host NPU 5: 1,200 images, 0.25 images/s, 3.0 GiB, last heard of 0 s ago"
    )
    folder.status_json.write_text(json.dumps({**status, "state": "finished"}))
    assert len(list(status_lines(folder.root))) == 1


def test_a_killed_process_is_looked_for(
    prompts: WritePrompts,
    start: StartCommand,
    folder: JobFolder,
    wait_until: Callable[[Callable[[], object]], None],
) -> None:
    """Its last heartbeat is of now, and it is not there."""
    prompts(1)
    started = start("model.latency_s=1000")
    wait_until(lambda: folder.job_json.exists() and ": running" in next(status_lines(folder.root)))
    started.kill()
    assert ": died while running, last heartbeat" in next(status_lines(folder.root))


@pytest.mark.parametrize(
    "content", ["{", "[]", "[" * 200_000, '{"state": 5}', '{"heartbeat": "x"}']
)
def test_a_broken_status_is_a_line_not_a_traceback(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, content: str
) -> None:
    """Other jobs are still listed."""
    prompts(1)
    run_job()
    folder.status_json.write_text(content)
    (line,) = status_lines(folder.root)
    assert "status.json cannot be read" in line
    assert len(list(status_objects(folder.root))) == 1


@pytest.mark.parametrize(
    "changed", [{"failed_by_type": []}, {"state": "running", "pid": 1e999}, {"left_s": "long"}]
)
def test_a_status_with_values_of_other_types_is_a_line(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, changed: dict[str, object]
) -> None:
    """Whoever wrote it, the other jobs are still listed."""
    prompts(1)
    run_job()
    status = json.loads(folder.status_json.read_text())
    folder.status_json.write_text(json.dumps({**status, **changed}))
    assert "status.json cannot be read" in list(status_lines(folder.root))[-1]


def test_a_folder_without_jobs_is_refused(folder: JobFolder) -> None:
    """There is nothing to tell of."""
    with pytest.raises(FolderError, match="holds no job"):
        list(status_lines(folder.root))
