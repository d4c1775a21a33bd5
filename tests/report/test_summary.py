"""What the images of a job share, and what sets them apart."""

from __future__ import annotations

import pytest
from conftest import RunJob, WritePrompts, WriteTable

from batchgen.config.models import FakeModel
from batchgen.errors import FolderError
from batchgen.report.summary import summarise, tables
from batchgen.storage.folder import JobFolder


def test_what_all_images_share_is_told_once(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """And the seed, which none shares with another, with each image."""
    prompts(3)
    run_job()
    summary = summarise(folder)
    row = {"seed": 5, "steps": 20}
    assert summary.common == "fake, 20 steps, guidance 7.5, euler, 64x64"
    assert summary.differences(row) == "seed 5"
    assert (summary.n_images, summary.n_per_row) == (3, 1)


def test_what_differs_is_told_with_each_image(
    write_table: WriteTable, run_job: RunJob, folder: JobFolder
) -> None:
    """Sizes count by width and height together, and an empty negative prompt is not told."""
    write_table(
        "prompt,seed,steps,guidance_scale,scheduler,width,height,negative_prompt\n"
        "a cat,1,10,5,ddim,64,64,\n"
        "a dog,2,20,7.5,euler,64,128,red\n"
    )
    run_job()
    summary = summarise(folder)
    rows = [row for table in tables(folder) for row in table.to_pylist()]
    assert summary.common == "fake"
    assert [summary.differences(row) for row in rows] == [
        "10 steps, guidance 5, ddim, 64x64, seed 1",
        "20 steps, guidance 7.5, euler, 64x128, seed 2, negative: red",
    ]
    assert (summary.width, summary.height) == (64, 128)


def test_a_row_counts_all_its_images(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """One for each seed here."""
    prompts(2)
    run_job(seeds=[3, 4, 5])
    assert summarise(folder).n_per_row == 3


def test_a_job_without_a_finished_image_has_nothing_to_show(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Every row failed."""
    prompts(1)
    run_job(model=FakeModel(fail_rows=[0]))
    with pytest.raises(FolderError, match="has no finished image yet"):
        summarise(folder)


def test_a_folder_that_is_no_job_is_refused(folder: JobFolder) -> None:
    """It says what is missing."""
    with pytest.raises(FolderError, match=r"no job\.json in it"):
        summarise(folder)


def test_one_step_is_a_step(prompts: WritePrompts, run_job: RunJob, folder: JobFolder) -> None:
    """As few-step models draw."""
    prompts(1)
    run_job(sampling={"steps": 1})
    assert summarise(folder).common.startswith("fake, 1 step, guidance")
