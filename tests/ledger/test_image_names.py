"""The files in images/, compared with what is committed."""

from __future__ import annotations

import pyarrow as pa
import pytest
from conftest import RunJob, StartCommand, WritePrompts

from batchgen.errors import FolderError
from batchgen.ledger import image_names
from batchgen.ledger.contents import read_contents
from batchgen.ledger.image_names import ImageNames, count_missing, missing_keys, uncommitted
from batchgen.ledger.verification import verify
from batchgen.storage.folder import JobFolder


@pytest.fixture
def job(prompts: WritePrompts, run_job: RunJob, folder: JobFolder) -> JobFolder:
    """Return a finished job of five images."""
    prompts(5)
    run_job()
    return folder


def test_missing_files_are_counted_with_the_first(job: JobFolder) -> None:
    """And their keys are known."""
    for row in (1, 3):
        (job.root / job.image_name(row, 0, "png")).unlink()
    contents = read_contents(job)
    found = count_missing(job, contents)
    assert (found.n_images, found.n_committed) == (2, 5)
    assert found.first == job.image_name(1, 0, "png")
    assert list(missing_keys(job, contents)) == [[("k1", 0), ("k3", 0)]]


def test_names_of_many_subfolders_are_looked_up_in_little_memory(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subfolder that was forgotten is listed again."""
    monkeypatch.setattr(image_names, "_KEPT_FOLDERS", 2)
    folder.create()
    there = [folder.image_name(n, 0, "png") for n in (0, 10_000, 20_000, 30_000)]
    for name in there:
        (folder.root / name).parent.mkdir()
        (folder.root / name).write_bytes(b"x")
    wanted = [*there, folder.image_name(40_000, 0, "png"), *there]
    missing = ImageNames(folder).missing(pa.chunked_array([wanted]))
    assert missing.to_pylist() == [False] * 4 + [True] + [False] * 4


def test_only_files_with_a_name_of_ours_are_uncommitted(job: JobFolder) -> None:
    """What else lies there is for `verify` to name."""
    place = job.images / "00000"
    ours, notes = place / "000000002-0.webp", place / "notes.txt"
    ours.write_bytes(b"x")
    notes.write_bytes(b"x")
    assert list(uncommitted(job, read_contents(job))) == [ours]
    assert verify(job).orphans == [ours, notes]


def test_an_image_that_was_not_committed_leaves_no_file_in_another_format(
    prompts: WritePrompts, start: StartCommand, run_job: RunJob, folder: JobFolder
) -> None:
    """Killed between rename and commit, then started with another format."""
    prompts(4)
    started = start("model.crash_rows=[2]")
    assert started.exit_code() < 0
    stray = folder.root / folder.image_name(2, 0, "png")
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"renamed, not committed")
    keep = stray.with_name("mine.png")
    keep.write_bytes(b"someone's own")
    run_job(images="webp", on_change="redo")
    assert not stray.exists()
    assert verify(folder).orphans == [keep]


def test_something_else_than_a_file_is_refused(job: JobFolder) -> None:
    """By name."""
    path = job.root / job.image_name(1, 0, "png")
    path.unlink()
    path.mkdir()
    with pytest.raises(FolderError, match=rf"{path} is a folder"):
        count_missing(job, read_contents(job))
