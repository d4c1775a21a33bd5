"""The loop over leases: the same folder as one process makes, whatever happens to workers."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import MakeConfig, RunJob, WritePrompts, content
from inline_crew import Fault, InlineExecutor

import batchgen
from batchgen.config.models import FakeModel
from batchgen.errors import ExitCode, StorageError
from batchgen.ledger.verification import verify
from batchgen.runner.crew import Death, Lease, Report
from batchgen.runner.result import JobResult
from batchgen.runner.start import run_job as run_start
from batchgen.runner.stopping import Stop
from batchgen.storage.folder import JobFolder


class RunCrew:
    """Runs the job of `fake_config` over t.csv with a crew without processes."""

    def __init__(self, make: MakeConfig, table: Path) -> None:
        self._make, self._table = make, table

    def __call__(
        self,
        n_workers: int,
        fault: Fault = lambda _, __: None,
        stop: Stop | None = None,
        **settings: Any,
    ) -> tuple[JobResult, InlineExecutor]:
        """Run it, and return how it ended, and the crew."""
        executor = InlineExecutor(n_workers, fault)
        config = self._make(self._table, **{"name": "crew", **settings})
        return run_start(config, executor, stop or Stop(None)), executor


@pytest.fixture
def run_crew(tmp_path: Path, fake_config: MakeConfig) -> RunCrew:
    """Return a function that runs a job with a crew."""
    return RunCrew(fake_config, tmp_path / "t.csv")


@pytest.fixture
def crew_folder(tmp_path: Path) -> JobFolder:
    """The folder of the crew's job."""
    return JobFolder(tmp_path / "outputs" / "crew")


def rows_of(lease: Lease) -> list[int]:
    """Return the rows of a lease."""
    return [one.row_index for one in lease.batch.requests]


def test_a_crew_makes_what_one_process_makes(
    prompts: WritePrompts, run_job: RunJob, run_crew: RunCrew, folder: JobFolder,
    crew_folder: JobFolder,
) -> None:  # fmt: skip
    """Whatever the number of workers."""
    prompts(23)
    run_job(batch_size=3)
    result, crew = run_crew(3, batch_size=3)
    assert result.exit_code == ExitCode.done
    assert content(crew_folder) == content(folder)
    assert len({worker for worker, _ in crew.made}) == 3
    assert verify(crew_folder).is_clean


def test_what_a_dead_worker_held_others_make(
    prompts: WritePrompts, run_crew: RunCrew, crew_folder: JobFolder
) -> None:
    """Each batch once more at most, as it was, and nothing is charged."""
    prompts(12)
    dead: list[int] = []

    def fault(worker: int, lease: Lease) -> Death | None:
        if 4 in rows_of(lease) and not dead:
            dead.append(worker)
            return Death(worker, "killed")
        return None

    result, crew = run_crew(2, fault, batch_size=2)
    assert result.exit_code == ExitCode.done
    begun = Counter(lease.batch.batch_id for _, lease in crew.made)
    assert sorted(begun.values()) == [1, 1, 1, 1, 1, 2]
    assert crew.n_hired == 3
    assert set(pq.read_table(crew_folder.metadata)["batch_size"].to_pylist()) == {2}
    assert set(pq.read_table(crew_folder.metadata)["attempt"].to_pylist()) == {1}


@pytest.mark.parametrize("is_crash", [True, False])
def test_a_row_that_kills_workers_fails_alone(
    prompts: WritePrompts, run_crew: RunCrew, crew_folder: JobFolder, is_crash: bool
) -> None:
    """The others of its batch are made, last and alone."""
    prompts(10)

    def fault(worker: int, lease: Lease) -> Death | None:
        return Death(worker, "Aborted", is_crash=is_crash) if 5 in rows_of(lease) else None

    result, crew = run_crew(2, fault, batch_size=2)
    assert (result.exit_code, result.n_done, result.n_failed) == (ExitCode.not_all_well, 9, 1)
    failure = pq.read_table(crew_folder.failures).to_pylist()[0]
    assert (failure["row_key"], failure["attempt"], failure["is_final"]) == ("k5", 3, True)
    assert failure["error_type"] == "ProcessDied"
    assert "Aborted" in failure["message"]
    deaths = [lease for _, lease in crew.made if 5 in rows_of(lease)]
    assert [len(lease.batch.requests) for lease in deaths] == (
        [2, 1, 1, 1] if is_crash else [2, 2, 1, 1, 1]
    )
    again, crew = run_crew(2, batch_size=2)
    assert (again.exit_code, crew.made) == (ExitCode.not_all_well, [])


def test_too_many_deaths_stop_the_job(prompts: WritePrompts, run_crew: RunCrew) -> None:
    """As a circuit breaker: no row is charged."""
    prompts(10)
    result, crew = run_crew(
        2, lambda worker, _: Death(worker, "killed"), executor={"max_restarts": 3}
    )
    assert result.exit_code == ExitCode.broken
    assert "No worker is left: 5 died, and executor.max_restarts=3" in result.message
    assert crew.n_hired == 5
    assert result.n_failed == 0
    assert run_crew(2)[0].exit_code == ExitCode.done


def test_a_lost_device_costs_its_worker(prompts: WritePrompts, run_crew: RunCrew) -> None:
    """The others go on; it is not replaced."""
    prompts(10)

    def fault(worker: int, lease: Lease) -> Report | None:
        return Report(worker, lease.number, lost="it fell off") if worker == 1 else None

    result, crew = run_crew(2, fault)
    assert (result.exit_code, crew.n_hired) == (ExitCode.done, 2)


def test_devices_lost_with_a_batch_do_not_blame_it(
    prompts: WritePrompts, run_crew: RunCrew, crew_folder: JobFolder
) -> None:
    """Two workers find theirs unusable before they begin with what they hold."""
    prompts(12)

    def fault(worker: int, lease: Lease) -> Death | None:
        is_lost = worker < 2 and 0 in rows_of(lease)
        return Death(worker, "no device", is_lost=True) if is_lost else None

    result, crew = run_crew(3, fault, batch_size=2)
    assert (result.exit_code, crew.n_hired) == (ExitCode.done, 3)
    assert set(pq.read_table(crew_folder.metadata)["batch_size"].to_pylist()) == {2}


def test_the_last_device_lost_breaks_the_job(prompts: WritePrompts, run_crew: RunCrew) -> None:
    """With 4, and no row is charged."""
    prompts(4)
    result, _ = run_crew(2, lambda worker, lease: Report(worker, lease.number, lost="gone"))
    assert (result.exit_code, result.n_failed) == (ExitCode.broken, 0)
    assert "The last device is lost: gone" in result.message


def test_failures_are_those_of_one_process(
    prompts: WritePrompts, run_job: RunJob, run_crew: RunCrew, folder: JobFolder,
    crew_folder: JobFolder,
) -> None:  # fmt: skip
    """Retried, charged, and told with the type and the traceback they had in the worker."""
    prompts(12)
    model = FakeModel(fail_rows=[2, 7], blank_rows=[4])
    alone, (crew, _) = run_job(model=model), run_crew(3, model=model)
    assert (crew.exit_code, crew.n_failed) == (alone.exit_code, alone.n_failed)
    columns = ["row_key", "attempt", "is_final", "error_type", "message", "traceback"]
    one, other = (
        sorted(pq.read_table(at.failures, columns=columns).to_pylist(), key=str)
        for at in (folder, crew_folder)
    )
    assert one == other
    assert content(crew_folder) == content(folder)


def test_rows_that_all_fail_open_the_circuit(prompts: WritePrompts, run_crew: RunCrew) -> None:
    """Before any is charged; the next start makes them all."""
    prompts(30)
    result, crew = run_crew(3, model=FakeModel(fail_rows=list(range(30))))
    assert (result.exit_code, result.n_failed) == (ExitCode.broken, 0)
    assert len(crew.made) < 30


def test_few_rows_that_all_fail_are_told_from_a_broken_device_by_a_test_picture(
    prompts: WritePrompts, run_crew: RunCrew, crew_folder: JobFolder
) -> None:
    """Which leaves no file."""
    prompts(3)
    result, crew = run_crew(2, model=FakeModel(fail_rows=[0, 1, 2]))
    assert (result.exit_code, result.n_failed) == (ExitCode.not_all_well, 3)
    assert any(lease.is_probe for _, lease in crew.made)
    assert not [path for path in crew_folder.images.rglob("*") if path.is_file()]


def test_the_memory_ladder_is_climbed_once_for_all(
    prompts: WritePrompts, run_crew: RunCrew, crew_folder: JobFolder
) -> None:
    """What one worker learns the others are told with their next lease."""
    prompts(16)
    model = FakeModel(oom_above_batch=2)
    result, crew = run_crew(2, model=model, batch_size=4, executor={"lease": 1})
    assert result.exit_code == ExitCode.done
    assert {str(one) for one in crew.made[-1][1].rungs.values()} == {"slicing,batch=2"}
    assert set(pq.read_table(crew_folder.metadata)["rung"].to_pylist()) == {"slicing,batch=2"}


def test_a_stop_leaves_what_is_not_begun(prompts: WritePrompts, run_crew: RunCrew) -> None:
    """With 75, and the same command goes on."""
    prompts(20)
    stop = Stop(None)

    def fault(_: int, lease: Lease) -> None:
        if 5 in rows_of(lease):
            stop._on_signal(signal.SIGTERM, None)

    result, crew = run_crew(2, fault, stop)
    assert (result.exit_code, result.n_done) == (ExitCode.stopped, len(crew.made) - 2)
    assert 5 <= result.n_done <= 8
    assert run_crew(2)[0].exit_code == ExitCode.done


def test_a_late_report_changes_nothing(
    prompts: WritePrompts, run_crew: RunCrew, crew_folder: JobFolder
) -> None:
    """Its files are deleted, and those of the lease that holds stay."""
    prompts(4)
    dead: list[int] = []

    def fault(worker: int, lease: Lease) -> Death | None:
        if dead:
            return None
        dead.append(worker)
        executor.late.append(executor._workers[worker].make(lease))
        return Death(worker, "silent")

    executor = InlineExecutor(2, fault)
    config = run_crew._make(run_crew._table, name="crew")
    result = run_start(config, executor, Stop(None))
    assert (result.n_done, result.exit_code) == (4, ExitCode.done)
    assert "a late report of worker 0 changes nothing" in crew_folder.log.read_text()
    assert verify(crew_folder).is_clean
    assert [path for path in crew_folder.images.rglob(".*") if path.is_file()] == []


def test_redo_replaces_what_is_there(
    prompts: WritePrompts, run_crew: RunCrew, crew_folder: JobFolder
) -> None:
    """What a worker of the start before still writes has another name."""
    prompts(6)
    run_crew(2)
    before = content(crew_folder)[0]
    result, _ = run_crew(2, on_change="redo", sampling={"steps": 9})
    assert (result.exit_code, result.n_made) == (ExitCode.done, 6)
    after = content(crew_folder)[0]
    assert set(after) == set(before)
    assert all(after[name] != before[name] for name in after)


def test_a_full_disk_in_a_worker_stops_the_job(prompts: WritePrompts, run_crew: RunCrew) -> None:
    """With 75; what is committed stays."""
    prompts(8)
    full = StorageError("no space is left")

    def fault(worker: int, lease: Lease) -> Report | None:
        return Report(worker, lease.number, error=full) if 5 in rows_of(lease) else None

    result, _ = run_crew(2, fault)
    assert (result.exit_code, result.message) == (ExitCode.stopped, "no space is left")
    assert run_crew(2)[0].exit_code == ExitCode.done


def test_status_has_a_line_for_each_worker(
    prompts: WritePrompts, run_crew: RunCrew, crew_folder: JobFolder
) -> None:
    """Its device, its images, its rate, its memory and its last sign of life."""
    prompts(8)
    run_crew(2)
    status = json.loads(crew_folder.status_json.read_text())
    assert sum(worker["n_made"] for worker in status["workers"]) == 8
    assert all(worker["peak_memory_bytes"] > 2**20 for worker in status["workers"])


def test_device_index_has_no_meaning_with_ray(fake_config: MakeConfig) -> None:
    """Each worker sees one NPU."""
    with pytest.raises(batchgen.ConfigError, match=r"device\.index=1 has no meaning with executor"):
        fake_config(executor="ray", device={"index": 1}).validated()
