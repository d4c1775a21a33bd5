"""Writing files so that they appear complete or not at all, and errors that say why one cannot."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from batchgen.errors import FolderError, StorageError
from batchgen.storage.processes import is_running

DRAFT = ".tmp"
"""Ends the hidden names that files are written under."""
_DRAFT_NAME = re.compile(r"\..+?(?:\.(\d+)-[0-9a-f]{8})?\.tmp")
"""Names of drafts, with the number of the process; in those of version 0.1.0 there is none."""

_DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the body into a `StorageError` that names path, cause and free space."""
    try:
        yield
    except OSError as error:
        raise StorageError(_cause(path, error)) from error


@contextmanager
def opening_errors(path: Path, chosen_by: str = "output_root=") -> Iterator[None]:
    """Turn an `OSError` on opening a folder into a `FolderError`: a retry would not help.

    A full or failing disk is a `StorageError` here as well. `chosen_by` is what chose the folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_TROUBLE:
            raise StorageError(_cause(path, error)) from error
        raise FolderError(
            f"{path} cannot be written: {error.strerror}. "
            f"Choose another {chosen_by} or correct the permissions."
        ) from error


@contextmanager
def reading_errors(folder: Path) -> Iterator[None]:
    """Turn an `OSError` on reading in a folder into a `FolderError` that says what cannot be read.

    Not `FileNotFoundError`: a job at work takes files away, and who reads looks again.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        what = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else folder
        raise FolderError(
            f"{what} cannot be read: {error.strerror or error}. "
            "Correct the permissions, or repair the file system."
        ) from error


def _cause(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        try:
            free = f"{shutil.disk_usage(existing_parent(path)).free:,} bytes are free"
        except OSError:
            free = "free space unknown"
        return (
            f"{path}: {os.strerror(error.errno)}; {free}. "
            "What is committed is safe: make room and start the same command again."
        )
    return (
        f"{path}: {error.strerror or error}. What is committed is safe: "
        "repair the file system and start the same command again."
    )


def existing_parent(path: Path) -> Path:
    """Return the nearest folder above `path` that exists."""
    # Not `resolve`, which raises for a link that leads to itself.
    for parent in (path, *Path(os.path.realpath(path)).parents):
        if parent.is_dir():
            return parent
    return Path("/")


@contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """Yield a hidden name beside `path`; its file replaces `path` when the block succeeds.

    Where the block fails it is deleted. The name holds the process and random digits, so no other
    writer has it; what a killed process leaves is deleted by `clear_leftovers`.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{DRAFT}")
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_file(path: Path, before_rename: Callable[[], None] | None = None) -> Iterator[BinaryIO]:
    """Yield a binary file that appears at `path` complete when the block succeeds, or not at all.

    Written under a hidden name, synced, renamed; the folder is synced too. Readers see the old file
    or the new one. `before_rename` is called before it appears. Raises `StorageError`, and leaves
    no debris.
    """
    with storage_errors(path):
        with replacement(path) as draft, draft.open("xb") as file:  # never through a link
            yield file
            file.flush()
            os.fsync(file.fileno())
            if before_rename is not None:
                before_rename()
        sync_folder(path.parent)


def clear_leftovers(folder: Path, *, is_ours: bool) -> None:
    """Delete what killed writers left beside files of a folder.

    Args:
        folder: Where; folders in it are left alone. Nothing happens where there is none, or a
            link: what lies behind it is not ours.
        is_ours: Whether no other process writes here. Else those of processes that run stay.

    Raises:
        StorageError: For one that cannot be deleted.
    """
    with storage_errors(folder):
        if folder.is_symlink() or not folder.is_dir():
            return
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)]
        for name in names:
            writer = _DRAFT_NAME.fullmatch(name)
            if writer and (is_ours or not is_running(int(writer[1] or 0))):
                (folder / name).unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file at once; see `atomic_file`."""
    with atomic_file(path) as file:
        file.write(content)


def copy_atomically(source: Path, path: Path) -> None:
    """Replace a file by a copy of another; see `atomic_file`."""
    with atomic_file(path) as copy, source.open("rb") as file:
        shutil.copyfileobj(file, copy)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a loss of power, where its file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # SMB and some FUSE mounts sync files only
            raise
    finally:
        os.close(descriptor)
