"""What lies in a job's folder: files and folders, and nothing that leads out of it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
from conftest import RunJob, WritePrompts

import batchgen
from batchgen.cli.main import main
from batchgen.errors import FolderError
from batchgen.ledger.repair import repair
from batchgen.storage.folder import JobFolder

FOLDERS = (".batchgen", ".batchgen/journals", ".batchgen/parts", ".batchgen/seals", "images/00000")
FILES = ("job.json", "status.json", "metadata.parquet", ".batchgen/lock", ".batchgen/log.txt")


@pytest.fixture
def job(prompts: WritePrompts, run_job: RunJob, folder: JobFolder) -> JobFolder:
    """Return a finished job with one more row to make."""
    prompts(3)
    run_job()
    prompts(4)
    return folder


def content_of(place: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(p): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", [*FOLDERS, "report", ".batchgen/removed"])
def test_nothing_is_written_through_a_link(
    job: JobFolder, run_job: RunJob, tmp_path: Path, name: str
) -> None:
    """A link planted in a folder that was passed on leads to files of someone else."""
    outside = tmp_path / "outside"
    path = job.root / name
    if path.exists():
        path.rename(outside)
    else:
        outside.mkdir()
    (outside / "00000.png").write_bytes(b"precious")
    path.symlink_to(outside)
    before = content_of(outside)
    with pytest.raises(FolderError, match=rf"{path} is a link"):
        run_job()
    with pytest.raises(FolderError, match=rf"{path} is a link"):
        repair(job)
    assert main(["report", str(job.root)]) == 2
    assert content_of(outside) == before


def test_the_folder_and_images_may_be_links(
    job: JobFolder, run_job: RunJob, tmp_path: Path
) -> None:
    """The user made them, to another disk."""
    (tmp_path / "disk").mkdir()
    job.images.rename(tmp_path / "disk" / "images")
    job.images.symlink_to(tmp_path / "disk" / "images")
    job.root.rename(tmp_path / "disk" / "job")
    job.root.symlink_to(tmp_path / "disk" / "job")
    assert run_job().n_made == 1


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["folder", "FIFO", "socket", "link to nothing"])
def test_what_is_no_file_is_named_within_seconds(
    job: JobFolder, run_job: RunJob, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FIFO would wait for a writer for ever."""
    path = job.root / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(path.parent)  # the names of sockets are short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    else:
        path.symlink_to("nowhere")
    began = time.monotonic()
    with pytest.raises(FolderError, match=rf"{path} is a (folder|FIFO|socket|link)"):
        run_job()
    for command in ("status", "verify", "report"):
        assert main([command, str(job.root)]) in (0, 2, 3)
    assert time.monotonic() - began < 5


def test_a_folder_that_is_a_link_to_nothing_is_named(
    folder: JobFolder, prompts: WritePrompts, run_job: RunJob
) -> None:
    """Nothing is made behind it."""
    prompts(1)
    folder.root.parent.mkdir()
    folder.root.symlink_to("gone")
    with pytest.raises(batchgen.FolderError, match=rf"{folder.root} is a link to nothing"):
        run_job()
