"""Jobs over the workers of a real Ray cluster on this host: `make test-ray`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import RunJob, WritePrompts, content

from batchgen.errors import ExitCode
from batchgen.ledger.verification import verify
from batchgen.storage.folder import JobFolder

pytestmark = pytest.mark.ray

SMALL = (
    "table=t.csv", "model=fake", "sampling.width=64", "sampling.height=64", "executor=ray",
    "executor.cpus_per_worker=0.25",
)  # fmt: skip
WaitUntil = Callable[..., None]


class Driver:
    """A `batchgen run executor=ray` in a process of its own."""

    def __init__(self, place: Path, *overrides: str, workers: int | str = 2) -> None:
        settings = dict(one.partition("=")[::2] for one in (*SMALL, *overrides) if "=" in one)
        flags = [one for one in overrides if "=" not in one]
        lines = [f"{key}={value}" for key, value in settings.items()]
        command = [sys.executable, "-m", "batchgen", "run", f"executor.workers={workers}"]
        self.folder = JobFolder(place / "outputs" / "t")
        self.process = subprocess.Popen(
            [*command, *flags, *lines], cwd=place, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def end(self) -> tuple[int, str]:
        """Wait for it, and return its exit code and what it said."""
        said, _ = self.process.communicate(timeout=120)
        return self.process.returncode, said

    def status(self) -> dict[str, Any]:
        """Return status.json, once it is there."""
        with suppress(OSError, ValueError):
            content: dict[str, Any] = json.loads(self.folder.status_json.read_text())
            return content
        return {"workers": [], "n_done": 0, "state": "none"}

    def pids(self) -> list[int]:
        """Return the processes of the workers that status.json names."""
        return [worker["pid"] for worker in self.status().get("workers", ()) if worker["pid"]]


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Return a function that starts drivers; those that run at the end are killed."""
    started: list[Driver] = []

    def start(*overrides: str, workers: int | str = 2) -> Driver:
        started.append(Driver(tmp_path, *overrides, workers=workers))
        return started[-1]

    yield start
    for driver in started:
        pids = driver.pids()
        with suppress(ProcessLookupError):
            os.killpg(driver.process.pid, signal.SIGKILL)
        driver.process.communicate()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Return whether a process is there, and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_the_bytes_are_those_of_one_process(
    prompts: WritePrompts, run_job: RunJob, drive: Callable[..., Driver], tmp_path: Path
) -> None:
    """Files and metadata, with batches and failures; nothing half written is left."""
    prompts(31)
    run_job(name="one", batch_size=3)
    driver = drive("batch_size=3", workers=3)
    code, said = driver.end()
    assert (code, "31 images, all done" in said) == (ExitCode.done, True), said
    assert content(driver.folder) == content(JobFolder(tmp_path / "outputs" / "one"))
    assert verify(driver.folder).is_clean
    assert not [path for path in driver.folder.root.rglob(".*") if path.suffix == ".tmp"]
    assert len(driver.pids()) == 3


def test_a_worker_that_is_killed_is_replaced(
    prompts: WritePrompts, drive: Callable[..., Driver], wait_until: WaitUntil
) -> None:
    """Its batch is made by another; no image is lost or made twice."""
    prompts(60)
    driver = drive("model.latency_s=0.2")
    wait_until(lambda: driver.status()["n_done"] > 5, timeout_s=60)
    killed = driver.pids()[0]
    os.kill(killed, signal.SIGKILL)
    code, said = driver.end()
    assert code == ExitCode.done, said
    assert killed not in driver.pids()
    assert "died" in driver.folder.log.read_text()
    table = pq.read_table(driver.folder.metadata)
    assert table["row_index"].to_pylist() == list(range(60))
    assert set(table["attempt"].to_pylist()) == {1}
    assert verify(driver.folder).is_clean


def test_a_worker_that_is_stopped_is_given_up(
    prompts: WritePrompts, drive: Callable[..., Driver], wait_until: WaitUntil
) -> None:
    """Its batch is leased anew; woken, it changes nothing."""
    prompts(60)
    driver = drive("model.latency_s=0.2", "executor.silence_s=3")
    wait_until(lambda: driver.status()["n_done"] > 5, timeout_s=60)
    stopped = driver.pids()[0]
    os.kill(stopped, signal.SIGSTOP)
    wait_until(lambda: driver.pids() and stopped not in driver.pids(), timeout_s=40)
    with suppress(ProcessLookupError):
        os.kill(stopped, signal.SIGCONT)
    code, said = driver.end()
    assert code == ExitCode.done, said
    assert "no sign of life" in driver.folder.log.read_text()
    assert verify(driver.folder).is_clean
    assert not is_alive(stopped)


def test_a_row_that_kills_its_worker_fails_alone(
    prompts: WritePrompts, drive: Callable[..., Driver]
) -> None:
    """All others are made."""
    prompts(12)
    driver = drive("model.crash_rows=[5]", "batch_size=3")
    code, said = driver.end()
    assert code == ExitCode.not_all_well, said
    failure = pq.read_table(driver.folder.failures).to_pylist()
    assert [(one["row_index"], one["attempt"], one["is_final"]) for one in failure] == [
        (5, 3, True)
    ]
    assert "Aborted" in failure[0]["message"]
    assert pq.read_table(driver.folder.metadata).num_rows == 11
    assert not driver.folder.crash_notes()


def test_a_hung_batch_costs_its_worker(prompts: WritePrompts, drive: Callable[..., Driver]) -> None:
    """Not the job."""
    prompts(8)
    driver = drive("model.hang_rows=[3]", "timeout.batch_s=1")
    code, said = driver.end()
    assert code == ExitCode.not_all_well, said
    failure = pq.read_table(driver.folder.failures).to_pylist()
    assert [one["row_index"] for one in failure] == [3]
    assert "over timeout.batch_s=1" in failure[0]["message"]
    assert pq.read_table(driver.folder.metadata).num_rows == 7


def test_workers_end_with_their_driver_and_the_same_command_goes_on(
    prompts: WritePrompts, drive: Callable[..., Driver], wait_until: WaitUntil
) -> None:
    """Also where it is killed, and the next start makes all anew with other steps."""
    prompts(40)
    driver = drive("model.latency_s=0.3")
    wait_until(lambda: driver.status()["n_done"] > 5, timeout_s=60)
    pids = driver.pids()
    driver.process.kill()
    driver.process.wait()
    again = drive("sampling.steps=7", "on_change=redo")
    code, said = again.end()
    assert code == ExitCode.done, said
    wait_until(lambda: not any(map(is_alive, pids)), timeout_s=60)
    table = pq.read_table(again.folder.metadata)
    assert set(table["steps"].to_pylist()) == {7}
    assert table.num_rows == 40
    assert verify(again.folder).is_clean
    assert not [path for path in again.folder.images.rglob(".*") if path.suffix == ".tmp"]


def test_a_signal_ends_the_batches_in_flight_and_leaves_with_75(
    prompts: WritePrompts, drive: Callable[..., Driver], wait_until: WaitUntil
) -> None:
    """And a second driver is refused meanwhile."""
    prompts(60)
    driver = drive("model.latency_s=0.3")
    wait_until(lambda: driver.status()["n_done"] > 3, timeout_s=60)
    pids = driver.pids()
    code, said = drive().end()
    assert code == ExitCode.refused, said
    driver.process.send_signal(signal.SIGTERM)
    code, said = driver.end()
    assert (code, "stopped by SIGTERM" in said) == (ExitCode.stopped, True), said
    assert 3 < driver.status()["n_done"] < 60
    wait_until(lambda: not any(map(is_alive, pids)), timeout_s=30)
    assert drive().end()[0] == ExitCode.done


def test_a_grid_loads_the_model_once_a_worker(
    prompts: WritePrompts, drive: Callable[..., Driver]
) -> None:
    """Its points are made one after another by the same workers."""
    prompts(4)
    driver = drive("-m", "sampling.steps=5,6,7")
    code, said = driver.end()
    assert code == ExitCode.done, said
    points = sorted(driver.folder.root.glob("*/status.json"))
    assert len(points) == 3
    pids = {worker["pid"] for at in points for worker in json.loads(at.read_text())["workers"]}
    assert len(pids) == 2


def test_a_cpu_needs_the_number_of_workers(
    prompts: WritePrompts, drive: Callable[..., Driver]
) -> None:
    """There are no NPUs to count."""
    prompts(2)
    code, said = drive(workers="null").end()
    assert (code, "executor.workers=2" in said) == (ExitCode.refused, True), said


def test_each_worker_sees_one_npu(prompts: WritePrompts, tmp_path: Path) -> None:
    """Ray masks the others; all are different."""
    prompts(8)
    code = (
        "import json, ray, batchgen\n"
        "from pathlib import Path\n"
        "ray.init(resources={'NPU': 4}, num_cpus=4, include_dashboard=False, log_to_driver=False)\n"
        "result = batchgen.run(table='t.csv', model='fake', device='ascend', executor='ray',\n"
        "    sampling={'width': 64, 'height': 64})\n"
        "status = json.loads((result.folder / 'status.json').read_text())\n"
        "print(json.dumps([one['device'].split(' NPU ')[1] for one in status['workers']]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout.splitlines()[-1])) == ["0", "1", "2", "3"]


def test_the_demo_model_draws_the_same_over_two_workers(
    prompts: WritePrompts, drive: Callable[..., Driver], tmp_path: Path
) -> None:
    """MindSpore in each, on a core of its own, byte by byte."""
    prompts(6)
    demo = ("model=demo", "sampling.steps=3", "sampling.width=null", "sampling.height=null")
    driver = drive(*demo, "executor.cpus_per_worker=1")
    code, said = driver.end()
    assert code == ExitCode.done, said
    command = [sys.executable, "-m", "batchgen", "run", "table=t.csv", "name=one", *demo]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert content(driver.folder) == content(JobFolder(tmp_path / "outputs" / "one"))


def test_many_deaths_lose_nothing(
    prompts: WritePrompts, run_job: RunJob, drive: Callable[..., Driver], tmp_path: Path
) -> None:
    """Workers killed, stopped and crashed by a row, the driver killed, and still all the rest."""
    prompts(150)
    begun = time.monotonic()
    overrides = ("model.latency_s=0.15", "model.crash_rows=[77]", "executor.silence_s=4")
    driver = drive(*overrides, workers=3)
    for n in range(200):
        if driver.process.poll() is not None:
            break
        time.sleep(1.5)
        pids = driver.pids()
        if n in (6, 12):
            driver.process.kill()
            driver.process.wait()
            driver = drive(*overrides, workers=3)
        elif pids:
            with suppress(ProcessLookupError):
                os.kill(pids[n % len(pids)], (signal.SIGKILL, signal.SIGSTOP)[n % 4 == 3])
    code, said = driver.end()
    assert code == ExitCode.not_all_well, said
    assert time.monotonic() - begun < 240
    assert verify(driver.folder).is_clean
    run_job(name="one")
    files, rows = content(driver.folder)
    one_files, one_rows = content(JobFolder(tmp_path / "outputs" / "one"))
    assert len(rows) == 149
    assert files.items() <= one_files.items()
    without = [row for row in one_rows if row["row_index"] != 77]
    assert rows == without
