"""Whether what lies in a job's folder is of the right kind: a file, a folder, no link."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from batchgen.errors import FolderError
from batchgen.storage.atomic import reading_errors
from batchgen.storage.folder import JobFolder

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISREG, "a file"),
)


def refuse_other_folders(folder: JobFolder) -> None:
    """Raise `FolderError` for what is not a folder where a job has one, and for links out of it.

    The job's folder and its `images` may be links to folders. Below them nothing is written through
    a link: a folder that is one is refused, and so is a link in the place of a file that is not
    replaced as a whole.
    """
    with reading_errors(folder.root):
        _refuse_dangling(folder.root)
        _refuse_dangling(folder.images)
        if folder.images.exists() and not folder.images.is_dir():
            raise _refusal(folder.images, "a folder")
        hidden = (folder.hidden, folder.journals, folder.parts, folder.seals, folder.removed)
        for place in (*hidden, folder.report, *_entries(folder.images, are_folders=True)):
            if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
                raise _refusal(place, "a folder")
        for path in (folder.lock, folder.log):
            refuse_link_or_no_file(path)


def refuse_other_files(folder: JobFolder) -> None:
    """Raise `FolderError` for what is not a file where a job has one; a link to a file is one."""
    named = (folder.job_json, folder.metadata, folder.failures, folder.card, folder.status_json)
    with reading_errors(folder.root):
        listed = [_entries(place) for place in (folder.parts, folder.journals, folder.seals)]
        for path in chain(named, *listed):
            refuse_no_file(path)


def refuse_no_file(path: Path) -> None:
    """Raise `FolderError` for a path at which something else than a file is; nothing may be."""
    if os.path.lexists(path) and not path.is_file():
        _refuse_dangling(path)
        raise _refusal(path, "a file")


def refuse_link_or_no_file(path: Path) -> None:
    """Raise `FolderError` for a link, too: what is there is not replaced as a whole."""
    if path.is_symlink():
        raise _refusal(path, "a file")
    refuse_no_file(path)


def kind_of(path: Path) -> str:
    """Return what is at a path in words, such as `a FIFO`; links are not followed."""
    mode = path.lstat().st_mode
    return next(words for is_kind, words in _KINDS if is_kind(mode))


def _entries(place: Path, *, are_folders: bool = False) -> Iterator[Path]:
    """Yield what lies in a folder; of `images` only what is named as a job names its subfolders."""
    try:
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (place / name for name in names if not are_folders or name.isdecimal())


def _refuse_dangling(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise FolderError(
            f"{path} is a link to nothing. Restore its target, or move the link away: its images "
            "are then made again."
        )


def _refusal(path: Path, wanted: str) -> FolderError:
    found = kind_of(path)
    if found == "a link":
        return FolderError(
            f"{path} is a link, and {wanted} is needed there: a job writes nothing through links "
            "in its folder. Move it away; only the folder itself and images may be links."
        )
    return FolderError(f"{path} is {found}, and {wanted} is needed there. Move it away.")
