"""Every path of a job, what may become its folder, and what job.json says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchgen.errors import FolderError
from batchgen.storage.folder import FORMAT, GRID_FILE, JobFolder
from batchgen.storage.job_search import jobs_in


def test_image_names_are_digits_ten_thousand_a_folder(folder: JobFolder) -> None:
    """Words in a path would make the ImageFolder reader of `datasets` guess at splits."""
    assert folder.image_name(0, 0, "png") == "images/00000/000000000-0.png"
    assert folder.image_name(123_456, 7, "webp") == "images/00012/000123456-7.webp"


def test_every_path_is_inside_the_folder(folder: JobFolder) -> None:
    """One class owns every path, so this is all of them."""
    names = [name for name, kind in vars(JobFolder).items() if isinstance(kind, property)]
    paths = [getattr(folder, name) for name in names] + [folder.crash_note("r")]
    assert len(paths) == 18
    assert all(path.is_relative_to(folder.root) for path in paths)


def test_create_keeps_a_card_that_somebody_wrote(folder: JobFolder) -> None:
    """The dataset card is the user's once it is there."""
    folder.create()
    folder.write_card()
    assert "data_files" in folder.card.read_text()
    folder.card.write_text("mine")
    folder.write_card()
    assert folder.card.read_text() == "mine"


def test_new_and_empty_folders_may_become_a_job(folder: JobFolder) -> None:
    """An empty folder that a mount or a user made is no obstacle."""
    folder.refuse_unless_job()
    folder.root.mkdir(parents=True)
    folder.refuse_unless_job()
    assert not folder.is_job()
    folder.create()
    folder.refuse_unless_job()
    assert folder.is_job()


def test_file_in_the_place_of_the_folder_is_refused(folder: JobFolder) -> None:
    """The message names the file and what to change."""
    folder.root.parent.mkdir()
    folder.root.write_text("")
    with pytest.raises(FolderError, match=r"/t is a file, and a folder is needed.*name="):
        folder.refuse_unless_job()


def test_folder_with_foreign_files_is_refused(folder: JobFolder) -> None:
    """Nobody's photographs become part of a job."""
    folder.root.mkdir(parents=True)
    (folder.root / "holiday.jpg").touch()
    with pytest.raises(FolderError, match=r"no job put there, 'holiday\.jpg'"):
        folder.refuse_unless_job()


def test_grid_is_not_made_into_a_job(folder: JobFolder) -> None:
    """The refusal says how the grid goes on."""
    folder.root.mkdir(parents=True)
    (folder.root / GRID_FILE).touch()
    with pytest.raises(FolderError, match=r"is a grid of jobs.*run -m"):
        folder.refuse_unless_job()


def test_identity_is_none_before_the_first_start(folder: JobFolder) -> None:
    """Absent is not broken."""
    assert folder.identity() is None


def test_identity_survives_writing_and_reading(folder: JobFolder) -> None:
    """Any text survives."""
    folder.create()
    content = {"identity": {"table": "猫 \x00 é"}, "n": 1}
    folder.write_json(folder.job_json, content)
    assert folder.identity() == content


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "3", "{}", '{"identity": 3}', '{"name": "npm"}', "\x00\x01",
        '{"identity": {}, "config": null}', '{"identity": {}, "environments": []}',
        '{"identity": {}, "environments": {"0": 5}}', '{"identity": {}, "table": "t.csv"}',
    ],
)  # fmt: skip
def test_foreign_job_json_is_refused_by_name(folder: JobFolder, text: str) -> None:
    """A job.json that is torn, or another program's, is never taken for an identity."""
    folder.create()
    folder.job_json.write_text(text)
    with pytest.raises(FolderError, match=r"job\.json .*Move it away"):
        folder.identity()


def test_job_json_that_is_no_text_is_refused(folder: JobFolder) -> None:
    """Bytes that are not UTF-8 are refused in a sentence too."""
    folder.create()
    folder.job_json.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FolderError, match="cannot be read"):
        folder.identity()


def test_job_json_nested_without_end_is_refused(folder: JobFolder) -> None:
    """Hostile nesting is a sentence, not a RecursionError."""
    folder.create()
    folder.job_json.write_text("[" * 200_000)
    with pytest.raises(FolderError, match="cannot be read"):
        folder.identity()


def test_a_newer_form_of_job_json_is_refused_by_its_number(tmp_path: Path) -> None:
    """An older batchgen must not write into it; none at all is that of 0.1.0."""
    folder = JobFolder(tmp_path)
    contents: list[dict[str, Any]] = [{"identity": {}}, {"identity": {}, "format": FORMAT}]
    for content in contents:
        folder.write_json(folder.job_json, content)
        assert folder.identity() == content
    folder.write_json(folder.job_json, {"identity": {}, "format": FORMAT + 1})
    with pytest.raises(FolderError, match=rf"format {FORMAT + 1}, .* a newer one wrote it"):
        folder.identity()


def make_job(root: Path) -> Path:
    """Make the least that is a job."""
    root.mkdir(parents=True)
    (root / "job.json").write_text("{}")
    return root


def test_jobs_are_found_at_any_depth_and_behind_links(tmp_path: Path) -> None:
    """A job may lie on another disk, with a link to it among the outputs."""
    outputs = tmp_path / "outputs"
    jobs = [make_job(outputs / "a"), make_job(outputs / "grid" / "0123")]
    linked = outputs / "linked"
    linked.symlink_to(make_job(tmp_path / "disk" / "job"))
    (outputs / "loop").symlink_to(outputs)
    assert [job.root for job in jobs_in(outputs)] == [*jobs, linked]


def test_what_lies_in_a_job_is_no_job_but_for_its_shards(tmp_path: Path) -> None:
    """What a merge or a repair took out is kept below it; a large job is not searched through."""
    job = make_job(tmp_path / "job")
    make_job(job / ".batchgen" / "merged" / "shard-00-of-02-a1b2c3")
    shard = make_job(job / "shard-01-of-02")
    assert [one.root for one in jobs_in(tmp_path)] == [job, shard]
    assert [one.root for one in jobs_in(job)] == [job, shard]
