"""Files that are there whole or not at all, and errors that say why not."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from batchgen.errors import StorageError
from batchgen.storage.atomic import (
    atomic_file,
    clear_leftovers,
    existing_parent,
    storage_errors,
    write_atomically,
)


def full_disk(_: int) -> None:
    """Stand in for `os.fsync` on a disk without room."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_write_replaces_the_whole_file(tmp_path: Path) -> None:
    """The new content is there, and nothing beside it."""
    path = tmp_path / "a.json"
    path.write_bytes(b"a long old content")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_leaves_the_old_file_and_no_debris(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up costs the new content only."""
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_named_with_its_free_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the file, the cause, what is free and what to do."""
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match=r"a\.png: No space left .*bytes are free.*make room"):
        write_atomically(tmp_path / "a.png", b"x")


def test_write_into_a_missing_folder_names_the_path(tmp_path: Path) -> None:
    """No folder is made on the way."""
    with pytest.raises(StorageError, match=r"gone/a\.png: No such file"):
        write_atomically(tmp_path / "gone" / "a.png", b"x")


def test_other_errors_pass_through(tmp_path: Path) -> None:
    """Only what the operating system says of the disk is a storage error."""
    with pytest.raises(ZeroDivisionError), storage_errors(tmp_path):
        _ = 1 / 0


def test_existing_parent_is_the_nearest_folder_there_is(tmp_path: Path) -> None:
    """A path that is to come lies on the file system of its nearest folder."""
    assert existing_parent(tmp_path) == tmp_path
    assert existing_parent(tmp_path / "a" / "b" / "c") == tmp_path


def test_two_writers_of_one_file_never_share_a_name(tmp_path: Path) -> None:
    """The last that ends well is what is there, whole, and neither fails."""
    path = tmp_path / "status.json"
    with atomic_file(path) as first:
        first.write(b"first")
        with atomic_file(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    """Those of 0.1.0 too; of a process that runs only where the folder is ours alone."""
    dead, running = 2**22 + 1, os.getppid()
    leftovers = [".a.json.tmp", f".b.png.{dead}-0123abcd.tmp"]
    others = ["a.json", "b.tmp", ".hidden", f".c.png.{running}-0123abcd.tmp"]
    for name in (*leftovers, *others):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".folder.tmp").mkdir()
    clear_leftovers(tmp_path, is_ours=False)
    assert {path.name for path in tmp_path.iterdir()} == {*others, ".folder.tmp"}
    clear_leftovers(tmp_path, is_ours=True)
    assert {path.name for path in tmp_path.iterdir()} == {*others[:3], ".folder.tmp"}
    clear_leftovers(tmp_path / "nosuch", is_ours=True)


def test_leftovers_behind_a_link_are_not_ours(tmp_path: Path) -> None:
    """Nothing is deleted through a link in a job's folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".a.json.tmp").write_bytes(b"")
    (tmp_path / "images").symlink_to(elsewhere)
    clear_leftovers(tmp_path / "images", is_ours=True)
    assert (elsewhere / ".a.json.tmp").exists()


def test_a_file_system_that_syncs_no_folders_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some mounts answer EINVAL for a folder; the file itself is synced."""
    fsync, synced = os.fsync, []

    def only_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        synced.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert len(synced) == 1
