"""The loop over batches: failures and their retries, the breaker, the ladder, hangs and crashes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import RunJob, StartCommand, WritePrompts, WriteTable

import batchgen
from batchgen.config.models import FakeModel
from batchgen.errors import DeviceLost
from batchgen.ledger.contents import consistently, read_contents
from batchgen.ledger.journal import Journal
from batchgen.ledger.schema import FAILURES
from batchgen.pipelines.base import PLAIN, Decoding, Generation
from batchgen.pipelines.fake import FakePipeline
from batchgen.plan.requests import ImageRequest
from batchgen.storage.folder import JobFolder

WaitUntil = Callable[[Callable[[], object]], None]
FAILING = FakeModel(fail_rows=[2])


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The rows of each call of the fake pipeline."""
    made: list[list[int]] = []
    generate = FakePipeline.generate

    def watched(
        pipeline: FakePipeline, images: Sequence[ImageRequest], decoding: Decoding = PLAIN
    ) -> Generation:
        made.append([image.row_index for image in images])
        return generate(pipeline, images, decoding)

    monkeypatch.setattr(FakePipeline, "generate", watched)
    return made


def failures(folder: JobFolder) -> list[dict[str, Any]]:
    """Return what failures.parquet says; nothing where it is not there."""
    if not folder.failures.exists():
        return []
    found: list[dict[str, Any]] = pq.read_table(folder.failures).to_pylist()
    return found


def metadata(folder: JobFolder) -> pd.DataFrame:
    """Return the metadata of what is finished."""
    return batchgen.read_metadata(folder.root)


def test_failing_row_is_recorded_and_its_neighbours_are_made(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Exit 3, and a row of failures.parquet that says all there is to say."""
    prompts(6)
    result = run_job(model=FAILING, batch_size=3)
    assert (result.exit_code, result.n_done, result.n_failed, result.n_left) == (3, 5, 1, 0)
    assert metadata(folder)["row_index"].tolist() == [0, 1, 3, 4, 5]
    (failure,) = failures(folder)
    assert list(failure) == [column.name for column in FAILURES]
    assert (failure["row_key"], failure["error_type"]) == ("k2", "ImageError")
    assert failure["message"] == "row 2 fails (model.fail_rows)"
    assert (failure["text"], failure["steps"], failure["width"]) == ("prompt 2", 20, 64)
    assert "raise ImageError" in failure["traceback"]


def test_failed_row_is_tried_once_more_at_the_end_of_the_start(
    prompts: WritePrompts, run_job: RunJob, calls: list[list[int]], folder: JobFolder
) -> None:
    """After all others, and alone."""
    prompts(6)
    run_job(model=FAILING, batch_size=3)
    assert calls == [[0, 1, 2], [0, 1], [2], [3, 4, 5], [2]]
    (failure,) = failures(folder)
    assert (failure["attempt"], failure["is_final"]) == (2, False)


def test_failed_row_is_tried_once_with_each_further_start_then_never(
    prompts: WritePrompts, run_job: RunJob, calls: list[list[int]], folder: JobFolder
) -> None:
    """`retry.max_attempts` times in all, which is 3."""
    prompts(6)
    run_job(model=FAILING)
    calls.clear()
    assert run_job(model=FAILING).exit_code == 3
    assert calls == [[2], [-1]], "the row, and a picture nobody asked for: the device works"
    (failure,) = failures(folder)
    assert (failure["attempt"], failure["is_final"]) == (3, True)
    assert run_job(model=FAILING).exit_code == 3
    assert calls == [[2], [-1]]
    assert failures(folder) == [failure]


def test_retries_on_a_device_that_makes_nothing_are_not_charged(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Rows that failed before fail again, and so does the picture nobody asked for: exit 4."""
    prompts(6)
    run_job(model=FAILING)
    before = failures(folder)
    assert run_job(model=FakeModel(fail_rows=[-1, 2])).exit_code == 4
    assert failures(folder) == before


def test_many_poison_rows_that_are_left_are_charged_where_the_device_works(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """More than the breaker takes, and nothing else to make: exit 3, not 4."""
    prompts(30)
    poison = FakeModel(fail_rows=list(range(0, 30, 2)))
    assert run_job(model=poison).exit_code == 3
    assert run_job(model=poison).exit_code == 3
    assert {failure["attempt"] for failure in failures(folder)} == {3}


def test_a_row_that_was_corrected_is_tried_again(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Its failures were another prompt's."""
    prompts(4)
    for _ in range(3):
        run_job(model=FAILING)
    prompts(4, k2="a better prompt")
    result = run_job()
    assert (result.exit_code, result.n_made) == (0, 1)
    assert not folder.failures.exists()


def test_row_that_heals_is_made_and_says_at_which_attempt(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Nothing is left of its failures."""
    prompts(4)
    run_job(model=FAILING)
    result = run_job(model=FakeModel())
    assert (result.exit_code, result.n_made, result.n_failed) == (0, 1, 0)
    assert metadata(folder)["attempt"].tolist() == [1, 1, 3, 1]
    assert failures(folder) == []


def test_retry_failed_gives_new_attempts(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """All of them, to rows that were failed for good."""
    prompts(4)
    for _ in range(2):
        run_job(model=FAILING)
    run_job(model=FAILING, retry={"failed": True})
    (failure,) = failures(folder)
    assert (failure["attempt"], failure["is_final"]) == (2, False)
    assert run_job(model=FakeModel(), retry={"failed": True}).exit_code == 0
    assert metadata(folder)["attempt"].tolist() == [1, 1, 1, 1]


def test_single_attempt_is_not_repeated(
    prompts: WritePrompts, run_job: RunJob, calls: list[list[int]]
) -> None:
    """`retry.max_attempts=1` means once."""
    prompts(4)
    run_job(model=FAILING, retry={"max_attempts": 1})
    assert calls == [[0], [1], [2], [3]]


def test_failures_at_the_end_of_the_table_are_charged(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Though no success follows that would show that the device works."""
    prompts(4)
    assert run_job(model=FakeModel(fail_rows=[2, 3])).exit_code == 3
    assert [failure["row_key"] for failure in failures(folder)] == ["k2", "k3"]


def test_every_row_failing_below_the_breaker_is_exit_3(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """A table of nothing but bad rows."""
    prompts(4)
    assert run_job(model=FakeModel(fail_rows=[0, 1, 2, 3])).exit_code == 3
    assert len(failures(folder)) == 4


def test_run_of_failures_opens_the_circuit_and_costs_no_attempt(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Exit 4; what was made before stays; the next start tries all again as if new."""
    prompts(12)
    broken = FakeModel(fail_rows=list(range(2, 12)))
    result = run_job(model=broken, retry={"max_consecutive_failures": 5})
    assert (result.exit_code, result.n_done, result.n_failed) == (4, 2, 0)
    assert "5 rows failed one after another, the last, row 6, with ImageError" in result.message
    assert str(folder.log) in result.message
    assert failures(folder) == []
    assert read_contents(folder).state.failures == {}
    assert run_job().exit_code == 0
    assert set(metadata(folder)["attempt"]) == {1}


def test_success_between_failures_keeps_the_circuit_closed(
    prompts: WritePrompts, run_job: RunJob
) -> None:
    """Half of a table may be bad."""
    prompts(12)
    bad = FakeModel(fail_rows=list(range(0, 12, 2)))
    assert run_job(model=bad, retry={"max_consecutive_failures": 2}).exit_code == 3


def test_images_of_one_row_are_one_failure_to_the_breaker(
    prompts: WritePrompts, run_job: RunJob
) -> None:
    """A bad prompt with many seeds is still one bad prompt."""
    prompts(2)
    result = run_job(
        model=FakeModel(fail_rows=[0]), seeds=range(6), retry={"max_consecutive_failures": 2}
    )
    assert (result.exit_code, result.n_failed) == (3, 6)


def test_lost_device_opens_the_circuit_at_once(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that says what to look at; what was made is committed; nobody is charged."""
    prompts(6)
    broke = FakePipeline._break

    def lose(pipeline: FakePipeline, images: Sequence[ImageRequest]) -> None:
        if images[0].row_index >= 3:
            raise DeviceLost("lost heartbeat")
        broke(pipeline, images)

    with monkeypatch.context() as patch:
        patch.setattr(FakePipeline, "_break", lose)
        result = run_job(model=FakeModel(fail_rows=[2]))
    assert (result.exit_code, result.n_done, result.n_failed) == (4, 2, 0)
    assert "The device is lost: lost heartbeat. Look at `npu-smi info`" in result.message
    assert metadata(folder)["row_index"].tolist() == [0, 1]
    assert failures(folder) == []


@pytest.mark.parametrize("fault", ["blank_rows", "nan_rows"])
def test_blank_picture_is_a_failure_and_no_file(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, fault: str
) -> None:
    """Recorded as BlankImage; its neighbours are kept in their batch."""
    prompts(4)
    faults: Any = {fault: [1]}
    assert run_job(model=FakeModel(**faults), batch_size=4).exit_code == 3
    assert [failure["error_type"] for failure in failures(folder)] == ["BlankImage"]
    assert metadata(folder)["batch_size"].tolist() == [4, 4, 4]
    assert not (folder.root / folder.image_name(1, 0, "png")).exists()


def test_picture_that_float32_heals_is_marked(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """In the metadata, for it alone."""
    prompts(4)
    assert run_job(model=FakeModel(nan_until_float32=[1]), batch_size=4).exit_code == 0
    assert metadata(folder)["vae_float32"].tolist() == [False, True, False, False]


def test_rung_is_in_the_metadata_and_remembered_over_starts(
    prompts: WritePrompts, run_job: RunJob, calls: list[list[int]], folder: JobFolder
) -> None:
    """The second start begins where the first arrived."""
    prompts(8)
    small = FakeModel(oom_above_batch=2)
    assert run_job(model=small, batch_size=4, limit=4).exit_code == 0
    calls.clear()
    assert run_job(model=small, batch_size=4).exit_code == 0
    assert calls == [[4, 5], [6, 7]]
    assert set(metadata(folder)["rung"]) == {"slicing,batch=2"}
    assert set(metadata(folder)["batch_size"]) == {2}


def test_image_too_large_for_the_device_is_failed(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """From the top of the ladder, as DeviceOutOfMemory."""
    prompts(2)
    assert run_job(model=FakeModel(oom_above_batch=0)).exit_code == 3
    assert {failure["error_type"] for failure in failures(folder)} == {"DeviceOutOfMemory"}


def test_image_that_cannot_be_encoded_is_failed(
    write_table: WriteTable, run_job: RunJob, folder: JobFolder
) -> None:
    """EXIF has no room for every prompt; the other rows are saved."""
    write_table(f"id,prompt\nk0,{'猫' * 40_000}\nk1,a dog\n")
    result = run_job(images="jpeg", reading={"max_prompt_chars": 10**6})
    assert (result.exit_code, result.n_done) == (3, 1)
    (failure,) = failures(folder)
    assert (failure["row_key"], failure["error_type"]) == ("k0", "ImageError")


def test_max_hours_stops_before_the_next_batch(prompts: WritePrompts, run_job: RunJob) -> None:
    """Nothing at all where the morning is here already."""
    prompts(4)
    result = run_job(stop={"max_hours": 0})
    assert (result.exit_code, result.n_made, result.n_left) == (75, 0, 4)
    assert "stop.max_hours" in result.message


def test_row_that_kills_its_process_is_failed_after_it_died_alone_often_enough(
    prompts: WritePrompts, start: StartCommand, folder: JobFolder
) -> None:
    """First in company, then twice alone; the neighbours are made on the way, then exit 3."""
    prompts(8)
    arguments = ("model.crash_rows=[5]", "batch_size=4", "retry.max_attempts=2")
    exit_codes = [start(*arguments).exit_code() for _ in range(4)]
    assert exit_codes == [-signal.SIGABRT, -signal.SIGABRT, -signal.SIGABRT, 3]
    assert metadata(folder)["row_index"].tolist() == [0, 1, 2, 3, 4, 6, 7]
    (failure,) = failures(folder)
    assert (failure["row_key"], failure["error_type"]) == ("k5", "ProcessDied")
    assert failure["message"] == "the process died 2 times: Fatal Python error: Aborted"
    assert (failure["attempt"], failure["is_final"]) == (2, True)
    assert start(*arguments).exit_code() == 3


def test_neighbours_of_a_killer_are_not_charged(
    prompts: WritePrompts, start: StartCommand, folder: JobFolder
) -> None:
    """They died in company only."""
    prompts(4)
    for _ in range(3):
        start("model.crash_rows=[1]", "batch_size=4", "retry.max_attempts=1").exit_code()
    assert metadata(folder)["row_index"].tolist() == [0, 2, 3]
    assert set(metadata(folder)["attempt"]) == {1}


def test_plain_kills_blame_nobody(
    prompts: WritePrompts, start: StartCommand, folder: JobFolder, wait_until: WaitUntil
) -> None:
    """However often; the batch keeps its make-up."""
    prompts(4)
    for _ in range(4):
        last = read_contents(folder).last_sequence
        started = start("model.latency_s=100", "batch_size=4")
        wait_until(partial(is_making_after, last, folder))
        assert started.kill() == -signal.SIGKILL
    assert start("batch_size=4").exit_code() == 0
    assert read_contents(folder).state.suspects == {}
    assert set(metadata(folder)["attempt"]) == {1}
    assert set(metadata(folder)["batch_size"]) == {4}


def is_making_after(sequence: int, folder: JobFolder) -> bool:
    """Whether a newer journal says that something is being made; the job seals and moves files."""
    journals = consistently(folder, lambda: read_contents(folder)).journals
    newest = journals[-1] if journals else None
    return bool(
        newest and newest.sequence > sequence and newest.unsealed and newest.unsealed.in_flight
    )


def test_row_that_hangs_is_stopped_with_75_each_time_then_failed(
    prompts: WritePrompts, start: StartCommand, folder: JobFolder
) -> None:
    """What hung is on record, and made last and alone from then on."""
    prompts(4)
    arguments = (
        "model.hang_rows=[1]", "batch_size=2", "timeout.batch_s=0.4", "retry.max_attempts=1",
    )  # fmt: skip
    assert [start(*arguments).exit_code() for _ in range(3)] == [75, 75, 3]
    assert metadata(folder)["row_index"].tolist() == [0, 2, 3]
    (failure,) = failures(folder)
    assert failure["error_type"] == "ProcessDied"
    assert "DeviceHung: over timeout.batch_s=0.4" in failure["message"]


def test_pictures_of_a_batch_are_committed_before_its_failures(
    prompts: WritePrompts, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two, the whole batch is made again, with the same last bits."""
    prompts(6)
    seen: list[str] = []
    append = Journal.append

    def noted(journal: Journal, event: Any, **durable: bool) -> None:
        seen.append(event["type"])
        append(journal, event, **durable)

    monkeypatch.setattr(Journal, "append", noted)
    run_job(model=FakeModel(fail_rows=[1]), batch_size=3, retry={"max_attempts": 1})
    outcomes = [kind for kind in seen if kind in ("done", "fail")]
    assert outcomes == ["done", "fail", "done"]
