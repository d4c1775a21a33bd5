"""Contact sheets: which pictures are on them, and what becomes of those that are not there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import RunJob, StartCommand, WritePrompts
from numpy.typing import NDArray

from batchgen.cli.main import main
from batchgen.config.models import FakeModel
from batchgen.errors import ConfigError, JobInUse
from batchgen.images.image_file import read_pixels
from batchgen.ledger.verification import verify
from batchgen.report import lettering
from batchgen.report.contact_sheets import contact_sheets
from batchgen.report.layout import Layout
from batchgen.report.summary import summarise
from batchgen.storage.folder import JobFolder

WaitUntil = Callable[[Callable[[], object]], None]


def place(folder: JobFolder, sheet: Path, line: int, column: int) -> NDArray[np.uint8]:
    """Return the pixels where an image of 64 x 64 is, or should be, on a sheet."""
    x, y = Layout.of(summarise(folder), 8).box(line, column)
    return read_pixels(sheet)[y : y + 64, x : x + 64]


def image(folder: JobFolder, row: int, index: int = 0) -> NDArray[np.uint8]:
    """Return the pixels of an image of a job."""
    return read_pixels(folder.root / folder.image_name(row, index, "png"))


@pytest.fixture
def job(prompts: WritePrompts, run_job: RunJob, folder: JobFolder) -> JobFolder:
    """Return a finished job of four images."""
    prompts(4)
    run_job()
    return folder


def test_every_image_is_on_a_sheet_in_order(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Seventy of them on two sheets, pixel for pixel, for they are small enough."""
    prompts(70)
    run_job()
    sheets = list(contact_sheets(folder))
    assert [path.name for path in sheets] == ["00000.png", "00001.png"]
    for row in range(70):
        sheet, line, column = sheets[row // 64], row % 64 // 8, row % 8
        assert (place(folder, sheet, line, column) == image(folder, row)).all()


def test_the_seeds_of_a_row_stand_side_by_side(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """A line for each row."""
    prompts(3)
    run_job(seeds=[0, 1, 2, 3])
    (sheet,) = contact_sheets(folder)
    for row in range(3):
        for index in range(4):
            assert (place(folder, sheet, row, index) == image(folder, row, index)).all()


def test_large_images_are_made_small(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """A picture of 512 x 512 takes 256 x 256 and has about the same colours."""
    prompts(1)
    run_job(sampling={"width": 512, "height": 512})
    (sheet,) = contact_sheets(folder)
    x, y = Layout.of(summarise(folder), 8).box(0, 0)
    small = read_pixels(sheet)[y : y + 256, x : x + 256].astype(int)
    assert np.abs(small - image(folder, 0)[::2, ::2]).mean() < 10


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"half", b"folder"])
def test_an_image_that_cannot_be_shown_is_an_empty_frame(
    job: JobFolder, content: bytes | None
) -> None:
    """Missing, empty, foreign, torn, or a folder in its place; the others are drawn."""
    path = job.root / job.image_name(1, 0, "png")
    whole = path.read_bytes()
    path.unlink()
    if content == b"folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(whole[: len(whole) // 2] if content == b"half" else content)
    (sheet,) = contact_sheets(job)
    frame = place(job, sheet, 0, 1)
    assert (frame[30:63, 1:] == 255).all()
    assert (frame[8:24, 8:] < 200).any(), "it says why"
    assert (place(job, sheet, 0, 2) == image(job, 2)).all()


def test_a_sheet_is_written_before_the_next_is_drawn(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """So one at a time is in memory."""
    prompts(20)
    run_job()
    sheets = contact_sheets(folder, columns=1)
    assert next(sheets).exists()
    assert [path.name for path in folder.report.glob("*.png")] == ["00000.png"]
    assert len(list(sheets)) == 2


def test_a_smaller_report_leaves_no_sheet_of_a_larger_one(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Files that are no sheets stay."""
    prompts(20)
    run_job()
    assert len(list(contact_sheets(folder, columns=1))) == 3
    notes = folder.report / "notes.png"
    notes.write_bytes(b"mine")
    assert len(list(contact_sheets(folder))) == 1
    assert sorted(folder.report.glob("*.png")) == [folder.report / "00000.png", notes]


def test_a_job_with_sheets_is_whole_and_goes_on(
    job: JobFolder, prompts: WritePrompts, run_job: RunJob
) -> None:
    """Neither verify nor the next start takes them for images."""
    list(contact_sheets(job))
    assert verify(job).is_clean
    prompts(6)
    assert run_job().n_made == 2


def test_a_running_job_can_be_looked_at(
    prompts: WritePrompts, start: StartCommand, folder: JobFolder, wait_until: WaitUntil
) -> None:
    """What is committed so far is shown."""
    prompts(200)
    running = start("model.latency_s=0.02")
    wait_until(lambda: len(list(folder.root.glob("images/*/*.png"))) > 10)
    (first, *_) = contact_sheets(folder)
    assert (place(folder, first, 0, 0) == image(folder, 0)).all()
    running.kill()


def test_one_report_at_a_time(job: JobFolder) -> None:
    """Two would write the same files."""
    first = contact_sheets(job)
    next(first)
    with pytest.raises(JobInUse):
        list(contact_sheets(job))


@pytest.mark.parametrize("columns", [0, 13, -1])
def test_a_number_of_columns_that_no_sheet_has_is_refused(job: JobFolder, columns: int) -> None:
    """It names the bounds, and draws nothing."""
    with pytest.raises(ConfigError, match=f"columns is {columns}, and must be from 1 to 12"):
        list(contact_sheets(job, columns=columns))
    assert not job.report.exists()


def test_letters_that_no_font_has_are_mentioned_once(
    prompts: WritePrompts,
    run_job: RunJob,
    folder: JobFolder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the option that helps."""
    monkeypatch.setattr(lettering, "_FALLBACKS", ())
    prompts(3, k1="一只猫", k2="一只狗")
    run_job()
    with caplog.at_level(logging.WARNING):
        list(contact_sheets(folder))
    (message,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert message.startswith(f"2 of {folder.root}'s captions lack characters")
    assert "--font" in message


def test_the_command_prints_the_sheets_of_every_job_of_a_grid(
    prompts: WritePrompts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One for each point here."""
    prompts(2)
    small = ["model=fake", "sampling.width=64", "sampling.height=64", f"output_root={tmp_path}"]
    main(["run", "-m", f"table={tmp_path / 't.csv'}", *small, "name=g", "sampling.steps=5,6"])
    capsys.readouterr()
    assert main(["report", str(tmp_path / "g")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == sorted(str(path) for path in tmp_path.glob("g/*/report/00000.png"))
    assert len(lines) == 2


def test_the_command_ends_with_2_where_there_is_nothing_to_show(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence; other jobs below the folder are drawn all the same."""
    prompts(1)
    run_job(model=FakeModel(fail_rows=[0]))
    run_job(name="z")
    assert main(["report", str(folder.root.parent)]) == 2
    said = capsys.readouterr()
    assert said.out.endswith("z/report/00000.png\n")
    assert "has no finished image yet" in said.err
