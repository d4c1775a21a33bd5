"""What runs in a worker, here in this process."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import MakeConfig, WritePrompts, image_of

from batchgen.config.device import DeviceKind
from batchgen.errors import DeviceError, DeviceOutOfMemory, ImageError, ModelError
from batchgen.executors.ray_worker import RayWorker, portable
from batchgen.plan.requests import Batch
from batchgen.runner.crew import Lease
from batchgen.runner.identity import Job
from batchgen.runner.maker import Failed


@pytest.fixture
def job(prompts: WritePrompts, fake_config: MakeConfig) -> Job:
    """A job of the fake model, with its folder."""
    job = Job.identify(fake_config(prompts(4)))
    job.folder.create()
    return job


@pytest.fixture
def worker() -> RayWorker:
    """A worker that nobody need give signs of life."""
    return RayWorker(3, silence_s=10**6)


def test_other_software_is_refused_by_name(job: Job, worker: RayWorker) -> None:
    """With both versions; the pictures could differ."""
    other = replace(job, versions={**job.versions, "numpy": "0.1"})
    refused = worker.open(other, "run")
    assert isinstance(refused, DeviceError)
    assert "the driver has " in str(refused)
    assert "numpy 0.1" in str(refused)


@pytest.mark.parametrize("npus", [None, "", "0,1,2,3"])
def test_a_worker_that_sees_no_single_npu_is_refused(
    job: Job, worker: RayWorker, monkeypatch: pytest.MonkeyPatch, npus: str | None
) -> None:
    """Two workers on one NPU would fail far later."""
    monkeypatch.delenv("ASCEND_RT_VISIBLE_DEVICES", raising=False)
    if npus is not None:
        monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", npus)
    on_npu = replace(job, device=DeviceKind.ascend)
    assert "should see one NPU" in str(worker.open(on_npu, "run"))
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "2")
    assert worker.open(on_npu, "run") is None


def test_a_worker_tells_what_it_sees(
    worker: RayWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a folder that is not shared is noticed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shared").write_text("token")
    here = worker.enter(str(tmp_path), str(tmp_path / "shared"))
    assert (here.seen, here.has_cwd, here.pid) == ("token", True, os.getpid())
    nowhere = worker.enter(str(tmp_path / "gone"), str(tmp_path / "gone" / "shared"))
    assert (nowhere.seen, nowhere.has_cwd) == (None, False)


def test_a_lease_is_made_under_hidden_names(job: Job, worker: RayWorker) -> None:
    """What is returned has no pixels, and can be sent."""
    assert worker.open(job, "run") is None
    report = worker.make(Lease(7, Batch((image_of(0),)), "mark-7", {}))
    (file,) = (path for path in job.folder.images.rglob("*") if path.is_file())
    assert file.name == ".000000000-0.png.mark-7.tmp"
    (outcome,) = report.outcomes
    assert not isinstance(outcome, Failed)
    made, saved = outcome
    assert made.picture.pixels.size == 0
    assert saved.size_bytes == file.stat().st_size
    assert len(pickle.dumps(report)) < 10_000
    assert not job.folder.crash_notes()


def test_leases_are_skipped_until_a_job_is_opened(job: Job, worker: RayWorker) -> None:
    """For the driver stops, and may have another job."""
    worker.open(job, "run")
    worker.skip()
    lease = Lease(1, Batch((image_of(0),)), "m", {})
    assert worker.make(lease).is_skipped
    worker.open(job, "run")
    assert not worker.make(lease).is_skipped


def test_a_model_that_cannot_be_loaded_is_told(
    job: Job, worker: RayWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver raises it."""
    refused = ModelError("a tensor is missing")

    def get(_: Job) -> None:
        raise refused

    monkeypatch.setattr(worker._cache, "get", get)
    assert worker.open(job, "run") is refused


class FromAfar(Exception):
    """An error of a class that the driver does not have."""


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (DeviceOutOfMemory("full"), "DeviceOutOfMemory"),
        (ImageError("bad"), "ImageError"),
        (ValueError("no"), "ValueError"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), "UnicodeDecodeError"),
        (FromAfar("odd"), "FromAfar"),
    ],
)
def test_a_failure_is_told_with_its_type(error: Exception, name: str) -> None:
    """Without its class where the driver need not have it."""
    told = portable(Failed(image_of(0), error, 2))
    assert (type(told.error).__name__, str(told.error)) == (name, str(error))
    assert type(told.error).__module__ != __name__
    assert name in told.traceback
