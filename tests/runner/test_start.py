"""One start of a job: what it refuses, what it goes on with, how it ends."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import RunJob, StartCommand, WritePrompts, WriteTable

import batchgen
from batchgen.config.models import FakeModel
from batchgen.errors import FolderError, JobChanged, JobInUse, StorageError, TableError
from batchgen.images.image_file import parameters_of
from batchgen.ledger import compaction
from batchgen.ledger.contents import read_contents
from batchgen.ledger.verification import verify
from batchgen.pipelines.fake import FakePipeline
from batchgen.plan import batches as plan
from batchgen.plan.requests import ImageRequest
from batchgen.runner import commits
from batchgen.runner.disk_space import refuse_if_full
from batchgen.runner.result import JobResult
from batchgen.storage.atomic import write_atomically
from batchgen.storage.folder import GRID_FILE, JobFolder
from batchgen.storage.lock import FolderLock

WaitUntil = Callable[[Callable[[], object]], None]


@pytest.fixture
def done(prompts: WritePrompts, run_job: RunJob) -> JobResult:
    """A job of six images that is all done."""
    prompts(6)
    return run_job()


def fill_the_disk(patch: pytest.MonkeyPatch, n_files: int) -> None:
    """Let the disk be full after so many more files."""
    fsync, left = os.fsync, [n_files]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    patch.setattr(os, "fsync", full)


def metadata(folder: JobFolder) -> pd.DataFrame:
    """Return the metadata of what is finished."""
    return batchgen.read_metadata(folder.root)


def content_of(place: Path) -> dict[str, bytes]:
    """Return every file below a folder, but for the lock and the log."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name not in ("lock", "log.txt")
    }


def images_on_disk(folder: JobFolder) -> list[str]:
    """Return the relative paths of all files under images/."""
    return sorted(str(p.relative_to(folder.root)) for p in folder.root.glob("images/*/*"))


def during_the_first_batch(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen while the job makes its first batch."""
    broke, left = FakePipeline._break, [happens]

    def break_(pipeline: FakePipeline, images: Sequence[ImageRequest]) -> None:
        if left:
            left.pop()()
        broke(pipeline, images)

    monkeypatch.setattr(FakePipeline, "_break", break_)


def test_job_ends_with_its_images_metadata_and_card(done: JobResult, folder: JobFolder) -> None:
    """All that design.md promises of a folder, and nothing else."""
    assert (done.exit_code, done.n_images, done.n_made, done.n_done) == (0, 6, 6, 6)
    assert done.message == "6 images, all done"
    assert {path.name for path in folder.root.iterdir()} == {
        ".batchgen", "images", "metadata.parquet", "job.json", "README.md", "status.json",
    }  # fmt: skip
    assert len(images_on_disk(folder)) == 6
    assert metadata(folder)["note"].tolist() == [f"note {n}" for n in range(6)]


def test_finished_job_does_nothing_when_started_again(
    done: JobResult, run_job: RunJob, folder: JobFolder
) -> None:
    """Not a byte changes."""
    before = content_of(folder.root)
    again = run_job()
    assert (again.exit_code, again.n_made, again.n_done) == (0, 0, done.n_done)
    assert again.message == "6 images, all done before"
    assert content_of(folder.root) == before


def test_resume_makes_only_what_is_missing(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """What is there is left as it is."""
    prompts(6)
    run_job(limit=4)
    before = content_of(folder.root / "images")
    first = metadata(folder)["run_id"].tolist()
    result = run_job()
    assert (result.n_made, result.n_done) == (2, 6)
    assert before.items() <= content_of(folder.root / "images").items()
    assert metadata(folder)["run_id"].tolist()[:4] == first


def test_rows_added_to_the_table_need_no_flag(
    done: JobResult, prompts: WritePrompts, run_job: RunJob
) -> None:
    """A table may grow."""
    prompts(8)
    result = run_job()
    assert (result.exit_code, result.n_made, result.n_done) == (0, 2, done.n_done + 2)


def test_rows_taken_from_the_table_keep_their_images(
    done: JobResult, prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """And need no flag either."""
    prompts(4)
    assert run_job().exit_code == 0
    assert len(metadata(folder)) == done.n_done


def test_edited_row_is_refused_with_row_field_old_and_new(
    done: JobResult, prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Nothing changes until the user says what to do."""
    before = content_of(folder.root)
    prompts(done.n_images, k3="a dog")
    with pytest.raises(JobChanged) as caught:
        run_job()
    text = str(caught.value)
    assert "holds 1 finished image made with other settings" in text
    assert "row 3 (key 'k3'), image 0: text: 'prompt 3' -> 'a dog'" in text
    assert "on_change=redo" in text
    assert content_of(folder.root) == before


def test_redo_makes_the_edited_row_again_and_no_other(
    done: JobResult, prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Its image is replaced, its row stands once."""
    before = content_of(folder.root / "images")
    prompts(done.n_images, k3="a dog")
    result = run_job(on_change="redo")
    assert (result.exit_code, result.n_made, result.n_done) == (0, 1, 6)
    after = content_of(folder.root / "images")
    assert [name for name in before if before[name] != after[name]] == ["00000/000000003-0.png"]
    assert metadata(folder)["text"].tolist()[3] == "a dog"
    assert len(metadata(folder)) == 6


def test_keep_leaves_the_edited_row_as_it_was(
    done: JobResult, prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """And makes what is new."""
    prompts(done.n_images + 1, k3="a dog")
    result = run_job(on_change="keep")
    assert (result.exit_code, result.n_made, result.n_done) == (0, 1, 7)
    assert metadata(folder)["text"].tolist()[3] == "prompt 3"


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"batch_size": 2}, "batch_size: 1 -> 2"),
        ({"sampling": {"steps": 30}}, "sampling.steps: 20 -> 30"),
        ({"images": "jpeg"}, 'images.format: "png" -> "jpg"'),
        ({"seed": 7}, "seed: 0 -> 7"),
    ],
)
def test_changed_setting_is_refused_by_name(
    done: JobResult, run_job: RunJob, folder: JobFolder, changed: dict[str, Any], line: str
) -> None:
    """The diff names what changed, before and after, and nothing that did not."""
    before = content_of(folder.root)
    with pytest.raises(JobChanged) as caught:
        run_job(**changed)
    lines = [text.strip() for text in str(caught.value).splitlines()]
    assert f"{done.n_done} finished images" in lines[0]
    assert line in lines
    assert not any(text.startswith("images.quality") for text in lines)
    assert content_of(folder.root) == before


def test_redo_in_another_format_leaves_no_image_without_a_row(
    done: JobResult, run_job: RunJob, folder: JobFolder
) -> None:
    """The old files go when the new ones are committed."""
    assert run_job(images="jpeg", on_change="redo").n_made == done.n_done
    assert images_on_disk(folder) == metadata(folder)["file_name"].tolist()


def test_redo_of_a_row_that_fails_leaves_no_image_without_a_row(
    done: JobResult, prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """The old image is withdrawn, and so is its file."""
    prompts(done.n_images, k3="a dog")
    assert run_job(model=FakeModel(fail_rows=[3]), on_change="redo").exit_code == 3
    assert len(metadata(folder)) == 5
    assert images_on_disk(folder) == metadata(folder)["file_name"].tolist()


def test_redo_that_was_killed_goes_on(
    prompts: WritePrompts, run_job: RunJob, start: StartCommand, folder: JobFolder,
    wait_until: WaitUntil,
) -> None:  # fmt: skip
    """What was redone before stays; at the end everything is new, and there once."""
    prompts(8)
    run_job()
    again = ("sampling.steps=30", "on_change=redo")
    started = start(*again, "model.latency_s=0.1")
    wait_until(lambda: set(metadata(folder)["steps"]) == {20, 30})
    started.kill()
    assert start(*again).exit_code() == 0
    found = metadata(folder)
    assert found["steps"].tolist() == [30] * 8
    assert images_on_disk(folder) == found["file_name"].tolist()


def test_column_that_changed_its_type_has_the_type_of_now(
    tmp_path: Path, run_job: RunJob, folder: JobFolder
) -> None:
    """No image is made anew for it, and no start is refused."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"prompt": ["a"], "size": [1]}), path)
    run_job(table=path)
    pq.write_table(pa.table({"prompt": ["a", "b"], "size": ["1", "2"]}), path)
    assert run_job(table=path).n_made == 1
    assert metadata(folder)[
        "table_size" if "table_size" in metadata(folder) else "size"
    ].tolist() == [
        "1",
        "2",
    ]


def test_table_without_rows_makes_no_folder(
    tmp_path: Path, run_job: RunJob, folder: JobFolder
) -> None:
    """Refused is: nothing was started, nothing was changed."""
    (tmp_path / "t.csv").write_text("prompt\n")
    with pytest.raises(TableError):
        run_job()
    assert not folder.root.exists()


def test_corrupt_job_json_is_refused(done: JobResult, run_job: RunJob, folder: JobFolder) -> None:
    """And stays for whoever wants to look at it."""
    folder.job_json.write_text('{"identity": {')
    with pytest.raises(FolderError, match=r"job\.json cannot be read.*Move it away"):
        run_job()
    assert folder.job_json.read_text() == '{"identity": {'
    assert len(metadata(folder)) == done.n_done


def test_job_json_from_elsewhere_does_not_make_a_job_finished(
    done: JobResult, prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Copied from a finished job of the same table, it says nothing of these images."""
    content = json.loads(folder.job_json.read_text())
    shutil.rmtree(folder.root)
    prompts(done.n_images)
    run_job(limit=2)
    folder.write_json(folder.job_json, content)
    assert run_job().n_done == done.n_images


def test_images_are_compared_by_their_own_metadata_where_job_json_is_gone(
    done: JobResult, run_job: RunJob, folder: JobFolder
) -> None:
    """The way out that the refusal of a broken job.json names."""
    folder.job_json.unlink()
    result = run_job()
    assert (result.exit_code, result.n_made, result.n_done) == (0, 0, done.n_done)


def test_diff_without_job_json_names_what_changed_only(
    done: JobResult, run_job: RunJob, folder: JobFolder
) -> None:
    """Nothing is known of the other settings, so nothing is said of them."""
    folder.job_json.unlink()
    with pytest.raises(JobChanged) as caught:
        run_job(sampling={"steps": 30})
    assert f"row {done.n_done - 6} (key 'k0'), image 0: steps: 20 -> 30" in str(caught.value)
    assert "null ->" not in str(caught.value)


def test_file_in_the_place_of_the_folder_is_refused(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """It stays what it is."""
    prompts(2)
    folder.root.parent.mkdir()
    folder.root.write_text("mine")
    with pytest.raises(FolderError, match="/t is a file, and a folder is needed"):
        run_job()
    assert folder.root.read_text() == "mine"


def test_output_root_that_is_a_file_is_refused_by_name(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Exit 2, naming the file."""
    prompts(2)
    folder.root.parent.write_text("mine")
    with pytest.raises(FolderError, match=rf"{folder.root.parent} is a file"):
        run_job()


def test_folder_that_cannot_be_made_is_refused(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2: nothing was started, and starting again changes nothing."""
    prompts(2)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(FolderError, match=rf"{folder.root}.*Read-only"):
        run_job()


def test_folder_that_may_not_be_written_is_refused(
    done: JobResult, prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Exit 2: root may write everywhere, so a folder in the place of the lock stands in."""
    prompts(done.n_images + 1)
    folder.lock.unlink()
    folder.lock.mkdir()
    with pytest.raises(FolderError, match=r"lock is a folder, and a file is needed there"):
        run_job()


def test_first_start_does_not_stumble_over_another_first_start(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one makes the folder at the same moment."""
    fsync = os.fsync

    def meanwhile(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        folder.create()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    folder.create()


def test_grid_cannot_become_a_job(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Its points are the jobs."""
    prompts(2)
    folder.root.mkdir(parents=True)
    (folder.root / GRID_FILE).touch()
    with pytest.raises(FolderError, match="is a grid of jobs"):
        run_job()


def test_folder_in_use_is_refused(
    done: JobResult, prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """With the process that is at work in it."""
    prompts(done.n_images + 1)
    with FolderLock(folder.lock), pytest.raises(FolderError, match=f"process {os.getpid()} "):
        run_job()


def test_first_start_that_was_overtaken_is_refused(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process did the whole job between its survey and its lock."""
    prompts(3)
    name = "batchgen.runner.opening.refuse_if_full"

    def meanwhile(*arguments: Any) -> None:
        monkeypatch.setattr(name, refuse_if_full)
        run_job()
        refuse_if_full(*arguments)

    monkeypatch.setattr(name, meanwhile)
    with pytest.raises(JobInUse, match="was started by another process meanwhile"):
        run_job()
    assert len(metadata(folder)) == 3


def test_table_edited_while_it_is_read_stops_the_job(
    prompts: WritePrompts, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 75; the next start takes the table as it is now."""
    monkeypatch.setattr(plan, "_WINDOW_BATCHES", 1)
    monkeypatch.setattr(plan, "_CHUNK_IMAGES", 2)
    prompts(6)
    during_the_first_batch(monkeypatch, partial(prompts, 7))
    result = run_job()
    assert (result.exit_code, result.n_done) == (75, 2)
    assert "was edited while it was read" in result.message
    after = run_job()
    assert (after.exit_code, after.n_done) == (0, 7)


def test_table_edited_after_it_was_read_is_looked_at_again(
    prompts: WritePrompts, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ends as it began, and is not taken for finished."""
    prompts(4)
    during_the_first_batch(monkeypatch, partial(prompts, 5))
    assert run_job().n_done == 4
    assert run_job().n_done == 5


@pytest.mark.parametrize("fate", ["renamed", "deleted"])
def test_a_run_whose_folder_goes_away_stops_and_goes_on(
    prompts: WritePrompts,
    start: StartCommand,
    run_job: RunJob,
    folder: JobFolder,
    wait_until: WaitUntil,
    fate: str,
) -> None:
    """Within a batch, with nothing under the old name; a deleted job starts anew."""
    prompts(100)
    started = start("batch_size=2", "model.latency_s=0.2")
    wait_until(lambda: len(list(folder.root.glob("images/*/*.png"))) > 2)  # the first are committed
    began, moved = time.monotonic(), folder.root.with_name("moved")
    folder.root.rename(moved)
    assert started.exit_code() == 75
    assert time.monotonic() - began < 10
    assert not folder.root.exists()
    assert "it was renamed, deleted or unmounted. Nothing more is written there" in started.said
    prompts(20)
    if fate == "deleted":
        shutil.rmtree(moved)
    result = run_job(name="t" if fate == "deleted" else "moved", batch_size=2)
    assert (result.exit_code, result.n_done) == (0, 20)
    assert (result.n_made == 20) is (fate == "deleted")
    assert verify(JobFolder(result.folder)).is_clean


def test_full_disk_is_found_before_the_start(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """75, with what is needed and what is free; nothing was made."""
    prompts(4)
    free = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    what = r"need about 32\.\d MiB, 32\.0 MiB of it in reserve, and 1000 bytes are free"
    with pytest.raises(StorageError, match=what):
        run_job()
    assert not folder.root.exists()
    assert StorageError.exit_code == 75


def test_disk_that_fills_up_is_found_at_the_next_part(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed stays, and the same command resumes it."""
    prompts(8)
    monkeypatch.setattr(commits, "PART_ROWS", 2)
    free = shutil.disk_usage("/")._replace(free=1000)
    with monkeypatch.context() as patch:
        during_the_first_batch(patch, lambda: patch.setattr(shutil, "disk_usage", lambda _: free))
        result = run_job()
    assert result.exit_code == 75
    assert "1000 bytes are free" in result.message
    assert 2 <= len(metadata(folder)) < 8
    assert result.n_failed == 0
    assert run_job().n_done == 8


@pytest.mark.parametrize("n_files", range(0, 40, 3))
def test_full_disk_at_any_file_ends_with_75_and_loses_nothing(
    prompts: WritePrompts,
    run_job: RunJob,
    folder: JobFolder,
    monkeypatch: pytest.MonkeyPatch,
    n_files: int,
) -> None:
    """Never a failed row, never a traceback; with room again the job ends as ever."""
    prompts(6)
    with monkeypatch.context() as patch:
        fill_the_disk(patch, n_files)
        exit_code, text = outcome_of(run_job)
    if exit_code:
        assert (exit_code, "No space left" in text) == (75, True)
    assert read_contents(folder).state.failures == {}
    result = run_job()
    assert (result.exit_code, result.n_done) == (0, 6)
    assert images_on_disk(folder) == metadata(folder)["file_name"].tolist()


def outcome_of(run_job: RunJob) -> tuple[int, str]:
    """Return the exit code and message a command would end with."""
    try:
        result = run_job()
    except StorageError as error:
        return error.exit_code, str(error)
    return result.exit_code, result.message


@pytest.mark.parametrize("event", ["done", "fail", "start"])
def test_journal_that_cannot_be_written_ends_with_75_and_blames_no_row(
    prompts: WritePrompts,
    run_job: RunJob,
    folder: JobFolder,
    monkeypatch: pytest.MonkeyPatch,
    event: str,
) -> None:
    """Whatever it was to hear; the note of a start is written inside the batch's own `try`."""
    prompts(12)
    write = os.write

    def full(descriptor: int, content: bytes) -> int:
        if f'"type":"{event}"'.encode() in content:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        return write(descriptor, content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        result = run_job(model=FakeModel(fail_rows=[0]))
    assert result.exit_code == 75
    assert "quota exceeded" in result.message
    assert set(read_contents(folder).state.failures) <= {("k0", 0)}


def test_full_disk_at_the_compaction_ends_with_75(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts hold everything until there is room."""
    prompts(4)

    def full(*_: object, **__: object) -> None:
        raise StorageError("metadata.parquet: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(compaction, "atomic_parquet", full)
        result = run_job()
    assert (result.exit_code, result.n_done) == (75, 4)
    assert len(metadata(folder)) == 4
    assert run_job().exit_code == 0


def test_a_status_that_cannot_be_written_stops_no_job(
    prompts: WritePrompts,
    run_job: RunJob,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is a courtesy, and the next start is asked for no second look before it is right."""
    prompts(4)

    def full(path: Path, content: bytes) -> None:
        if path.name == "status.json" and b'"running"' not in content:
            raise StorageError(f"{path}: No space left on device")
        write_atomically(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("batchgen.storage.folder.write_atomically", full)
        assert run_job().exit_code == 0
    assert "status.json is not up to date" in caplog.text
    assert run_job().message == "4 images, all done"
    assert run_job().message == "4 images, all done before"


def test_job_that_finds_nothing_to_do_loads_no_model(
    done: JobResult, prompts: WritePrompts, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one whose table must be read again to know it."""
    prompts(done.n_images - 1)
    monkeypatch.setattr("batchgen.executors.local.load", lambda *_: pytest.fail("loaded"))
    assert run_job().exit_code == 0


def test_log_is_appended_in_utc(prompts: WritePrompts, run_job: RunJob, folder: JobFolder) -> None:
    """One file for all starts."""
    prompts(4)
    run_job(model=FakeModel(fail_rows=[1]))
    first = folder.log.read_text()
    run_job()
    assert folder.log.read_text().startswith(first)
    assert "row 1 failed: row 1 fails" in first
    assert all(line[23:25] == "Z " for line in first.splitlines() if line.startswith("20"))


def test_job_runs_in_a_thread(prompts: WritePrompts, run_job: RunJob) -> None:
    """A server or a notebook may call it from anywhere."""
    prompts(3)
    results: list[JobResult] = []
    thread = threading.Thread(target=lambda: results.append(run_job()))
    thread.start()
    thread.join()
    assert results[0].exit_code == 0


def test_rows_choose_their_unet_cache(
    write_table: WriteTable, run_job: RunJob, folder: JobFolder
) -> None:
    """The column of that very name alone; it cuts batches and stands beside the picture."""
    write_table("prompt,unet_cache,UNet Cache\na,,5\nb,3,5\nc,,5\nd,1,5\ne,3,5\n")
    assert run_job(sampling={"unet_cache": 1}, batch_size=4).exit_code == 0
    rows = batchgen.read_metadata(folder.root).sort_values("row_index")
    assert rows["unet_cache"].tolist() == [1, 3, 1, 1, 3]
    assert rows["batch_size"].tolist() == [3, 2, 3, 3, 2]
    assert rows["UNet Cache"].tolist() == ["5"] * 5
    text = parameters_of(folder.root / rows["file_name"].iloc[1])
    assert "UNet cache: 3" in str(text)


def test_no_unet_cache_adds_nothing_to_a_fingerprint(
    write_table: WriteTable, run_job: RunJob, folder: JobFolder
) -> None:
    """Off is what pictures were before there was one; a cache of every step is known as one."""
    write_table("id,prompt,seed,unet_cache\na,a cat,1,\nb,a cat,1,0\nc,a cat,1,1\nd,a cat,1,2\n")
    assert run_job(batch_size=1).exit_code == 0
    rows = batchgen.read_metadata(folder.root)
    assert rows["fingerprint"].nunique() == 3
    assert rows["fingerprint"][0] == rows["fingerprint"][1] == "ad310ac69b1f0912"
    assert "UNet cache" not in str(parameters_of(folder.root / rows["file_name"][0]))


def test_job_json_says_what_the_job_is(done: JobResult, folder: JobFolder) -> None:
    """Config, table, columns and versions of the last start."""
    content = json.loads(folder.job_json.read_text())
    assert content["table"]["n_images"] == done.n_images
    assert content["table"]["columns_used"] == {"row_key": "id", "prompt": "prompt"}
    assert content["table"]["columns_carried"] == ["note"]
    assert content["config"]["sampling"]["steps"] == 20
    assert content["identity"]["versions"].keys() == {"numpy"}
    (environment,) = content["environments"].values()
    assert environment["versions"].keys() == {"batchgen", "numpy", "pillow"}
    assert environment["versions"]["batchgen"] == content["batchgen"]


def test_hidden_folder_holds_nothing_of_the_run_when_it_is_over(
    done: JobResult, folder: JobFolder
) -> None:
    """Journals, parts and crash notes are for jobs at work."""
    assert done.exit_code == 0
    left = {path.name for path in folder.hidden.iterdir()}
    assert left == {"journals", "parts", "seals", "lock", "log.txt"}
    assert not [*folder.journals.iterdir(), *folder.parts.iterdir()]


def test_rows_replaced_day_after_day_never_share_a_file(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """All ids are new in each of eight starts; every image keeps its path and its bytes."""
    for day in range(8):
        table = prompts(2)
        text = table.read_text().replace("k0", f"a{day}").replace("k1", f"b{day}")
        table.write_text(text)
        assert run_job().exit_code == 0
    names = metadata(folder)["file_name"].tolist()
    assert len(set(names)) == 16
    assert verify(folder).is_clean
