"""What is different from what a job's folder holds: refused, told, or done as a setting says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import MakeConfig, RunJob, WritePrompts, WriteTable

import batchgen
from batchgen.errors import FolderError, JobChanged, TableError
from batchgen.ledger.verification import verify
from batchgen.report.forecast import forecast
from batchgen.runner import changes
from batchgen.storage.folder import JobFolder


def metadata(folder: JobFolder) -> pd.DataFrame:
    """Return the metadata of what is finished."""
    return batchgen.read_metadata(folder.root)


def image(folder: JobFolder, row: int) -> Path:
    """Return the file of a row's image."""
    return folder.root / folder.image_name(row, 0, "png")


@pytest.fixture
def six(prompts: WritePrompts, run_job: RunJob, folder: JobFolder) -> JobFolder:
    """Return a finished job of six images."""
    prompts(6)
    run_job()
    return folder


def test_a_deleted_image_is_made_again_and_it_is_said(
    six: JobFolder, run_job: RunJob, caplog: pytest.LogCaptureFixture
) -> None:
    """All done means that the files are there."""
    before = image(six, 2).read_bytes()
    image(six, 2).unlink()
    result = run_job()
    assert (result.exit_code, result.n_made, result.message) == (0, 1, "6 images, all done")
    assert image(six, 2).read_bytes() == before
    assert "no file for 1 finished image, the first images/00000/000000002-0.png" in caplog.text
    assert verify(six).is_clean


def test_a_folder_that_carried_what_is_a_setting_now_is_refused(
    fake_config: MakeConfig, write_table: WriteTable, run_job: RunJob, folder: JobFolder
) -> None:
    """A folder of before `unet_cache` has it among the table's own columns."""
    table = write_table("prompt,unet_cache\na cat,3\na dog,3\n")
    reading = {"columns": {"unet_cache": ""}}
    assert run_job(reading=reading, limit=1).exit_code == 0
    assert metadata(folder)["table_unet_cache"].tolist() == ["3"]
    assert run_job(reading=reading).n_made == 1
    content = json.loads(folder.job_json.read_text())
    del content["config"]["sampling"]["unet_cache"]
    folder.job_json.write_text(json.dumps(content))
    for choice in ({}, reading):
        with pytest.raises(FolderError, match=r"carries the table's column 'unet_cache'.*name="):
            run_job(reading=choice, seed=1)
    forecast(fake_config(table, name="another"))


def test_a_deleted_image_is_made_again_even_where_changes_are_kept(
    six: JobFolder, run_job: RunJob
) -> None:
    """`keep` is about images that are there."""
    image(six, 2).unlink()
    assert run_job(on_change="keep", sampling={"steps": 30}).n_made == 1
    assert sorted(metadata(six)["steps"]) == [20] * 5 + [30]


def test_plan_tells_of_deleted_images(
    six: JobFolder, fake_config: MakeConfig, prompts: WritePrompts
) -> None:
    """As the next start would."""
    image(six, 2).unlink()
    said = "\n".join(forecast(fake_config(prompts(6))))
    assert "6: 5 done, 0 failed, 1 to make" in said
    assert "note      no file for 1 finished image" in said


def test_dropped_images_stay_out_until_a_start_says_redo(six: JobFolder, run_job: RunJob) -> None:
    """Someone looked through the pictures and deleted the bad ones."""
    image(six, 2).unlink()
    dropped = run_job(on_missing="drop")
    assert (dropped.n_made, dropped.n_images) == (0, 5)
    assert "1 more left out since their files were gone" in dropped.message
    assert metadata(six)["row_key"].tolist() == ["k0", "k1", "k3", "k4", "k5"]
    again = run_job()
    assert (again.n_made, again.n_done) == (0, 5)
    assert "left out" in again.message
    assert run_job(on_missing="redo").n_made == 1
    assert len(metadata(six)) == 6


def test_dropped_images_stay_out_when_the_job_grows(
    six: JobFolder, run_job: RunJob, prompts: WritePrompts
) -> None:
    """A start with work to do knows of them, too."""
    image(six, 2).unlink()
    run_job(on_missing="drop")
    prompts(8)
    assert run_job().n_made == 2
    assert "k2" not in metadata(six)["row_key"].tolist()


def test_missing_images_are_refused_on_request(six: JobFolder, run_job: RunJob) -> None:
    """With how many, and the first."""
    image(six, 2).unlink()
    image(six, 4).unlink()
    with pytest.raises(FolderError, match=r"no file for 2 of 6 finished images, the first .*002-0"):
        run_job(on_missing="refuse")


def test_images_in_an_archive_are_trusted_on_request(six: JobFolder, run_job: RunJob) -> None:
    """And `verify` says how many it did not see."""
    shutil.rmtree(six.images)
    six.images.mkdir()
    result = run_job(on_missing="trust")
    assert (result.exit_code, result.n_made, result.n_done) == (0, 0, 6)
    findings = verify(six)
    assert findings.is_clean
    assert "not seen: 6 images, as on_missing=trust" in "\n".join(findings.lines())


def test_a_disk_that_is_not_mounted_does_not_cost_all_images(
    six: JobFolder, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where most are gone, a start asks first."""
    monkeypatch.setattr(changes, "_MANY", 3)
    for row in range(5):
        image(six, row).unlink()
    with pytest.raises(FolderError, match=r"5 of 6 .*Is a disk not mounted\?"):
        run_job()
    assert run_job(on_missing="redo").n_made == 5


@pytest.mark.parametrize("kind", ["folder", "fifo", "link"])
def test_what_is_no_file_in_the_place_of_an_image_is_named(
    six: JobFolder, run_job: RunJob, kind: str
) -> None:
    """Within a moment, with no wait for a reader."""
    image(six, 2).unlink()
    if kind == "folder":
        image(six, 2).mkdir()
    elif kind == "fifo":
        os.mkfifo(image(six, 2))
    else:
        image(six, 2).symlink_to("nowhere")
    with pytest.raises(FolderError, match=r"000000002-0\.png is a (folder|FIFO|link to nothing)"):
        run_job()


def test_another_table_of_the_same_name_is_refused(
    tmp_path: Path, run_job: RunJob, write_table: WriteTable
) -> None:
    """With both paths; what is in the folder stays."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = write_table("id,prompt\na,x\nb,y\n", "first/list.csv")
    second = write_table("id,prompt\na,x\nb,y\nc,z\n", "second/list.csv")
    run_job(table=first)
    with pytest.raises(JobChanged, match=rf"of the table {first}, and {second} is another"):
        run_job(table=second)
    shutil.copy(first, second)
    assert run_job(table=second).message == "2 images, all done"


def test_another_table_is_let_in_on_request(
    tmp_path: Path, run_job: RunJob, write_table: WriteTable
) -> None:
    """Its rows are edits of the first one's then."""
    (tmp_path / "second").mkdir()
    first = write_table("id,prompt\na,x\nb,y\n", "list.csv")
    second = write_table("id,prompt\na,x\nb,new\n", "second/list.csv")
    run_job(table=first)
    assert run_job(table=second, on_change="redo").n_made == 1


@pytest.mark.usefixtures("six")
def test_new_rows_at_the_same_path_need_no_flag(run_job: RunJob, prompts: WritePrompts) -> None:
    """A table grows."""
    prompts(8)
    assert run_job().n_made == 2


@pytest.mark.usefixtures("six")
def test_what_is_kept_is_told_in_the_last_line_of_every_start(run_job: RunJob) -> None:
    """No picture of those seeds exists, so 36 images all done would mislead."""
    run_job(name="s", seeds="0..2")
    for _ in range(2):
        message = run_job(name="s", seeds="10..12", on_change="keep").message
        assert "18 of them kept although other settings are asked for now (seed)" in message


def test_rows_that_moved_are_told_as_such(
    run_job: RunJob, write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """A table without ids, and a row inserted at its top; `plan` warns of it early."""
    table = write_table("prompt\na\nb\nc\nd\n")
    assert "rows have no id" in "\n".join(forecast(fake_config(table)))
    run_job()
    write_table("prompt\nnew\na\nb\nc\nd\n")
    with pytest.raises(JobChanged, match=r"Most rows look moved.*column id"):
        run_job()


def test_images_of_rows_that_left_are_told_and_stay(
    six: JobFolder, run_job: RunJob, prompts: WritePrompts, caplog: pytest.LogCaptureFixture
) -> None:
    """With the setting that takes them out."""
    prompts(4)
    assert run_job().n_done == 4
    assert "no row in the table any more for 2 finished images" in caplog.text
    assert "on_removed=drop takes them out" in caplog.text
    assert len(metadata(six)) == 6


def test_images_of_rows_that_left_are_moved_aside_on_request(
    six: JobFolder, run_job: RunJob, prompts: WritePrompts
) -> None:
    """Nothing is deleted."""
    content = image(six, 5).read_bytes()
    prompts(4)
    run_job(on_removed="drop")
    assert metadata(six)["row_key"].tolist() == ["k0", "k1", "k2", "k3"]
    assert content in [path.read_bytes() for path in six.removed.rglob("*.png")]
    assert verify(six).is_clean


def test_rows_beyond_the_limit_have_not_left(six: JobFolder, run_job: RunJob) -> None:
    """They are only not asked for."""
    run_job(limit=2, on_removed="drop")
    assert len(metadata(six)) == 6


def test_narrowed_seeds_are_told_as_such(
    prompts: WritePrompts, run_job: RunJob, caplog: pytest.LogCaptureFixture, folder: JobFolder
) -> None:
    """The rows are all there."""
    prompts(2)
    run_job(seeds="0..3")
    assert run_job(seeds="0..1", on_removed="drop").n_done == 4
    assert "4 finished images of seeds or image indexes that are not asked for" in caplog.text
    assert "no row in the table" not in caplog.text
    assert len(metadata(folder)) == 8


def test_seeds_beside_a_column_of_seeds_are_refused(
    write_table: WriteTable, run_job: RunJob
) -> None:
    """Six images where twenty-four were asked for, and not a word."""
    write_table("id,prompt,seed\na,x,\nb,y,7\n")
    with pytest.raises(TableError, match=r"row 1: column 'seed' gives a seed, and seeds=0\.\.3"):
        run_job(seeds="0..3")
    assert run_job(seeds="0..3", limit=1).n_made == 4


def only(**values: Any) -> dict[str, Any]:
    """Return keyword arguments as they are."""
    return values


@pytest.mark.parametrize("settings", [only(device="ascend"), only(device="ascend", model="demo")])
def test_an_npu_that_is_not_there_is_refused_by_plan(
    prompts: WritePrompts, fake_config: MakeConfig, settings: dict[str, Any]
) -> None:
    """In the words of `run`; the fake model runs on any device."""
    config = fake_config(prompts(1), **settings)
    if settings.get("model") is None:
        assert "on ascend" in "\n".join(forecast(config))
        return
    with pytest.raises(batchgen.DeviceError, match="no NPU is here"):
        list(forecast(config))
