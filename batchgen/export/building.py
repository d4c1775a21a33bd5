"""The folder that is built beside the place asked for, and how far it is.

`OUT.partial` holds what is made so far, and a note of the question. The same question goes on from
there; when all is made it becomes `OUT`, by one rename.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchgen.config.counts import counted
from batchgen.errors import FolderError
from batchgen.storage.atomic import (
    DRAFT,
    clear_leftovers,
    opening_errors,
    reading_errors,
    storage_errors,
    sync_folder,
    write_atomically,
)
from batchgen.storage.lock import FolderLock

logger = logging.getLogger(__name__)


class Building:
    """A layout while it is made; `opened` makes one."""

    def __init__(self, out: Path, question: dict[str, Any], content: str) -> None:
        """Take the place, the question and a hash of what is to be exported."""
        self._out = out
        self._partial = partial_of(out)
        self._question, self._content = question, content
        self._lock = FolderLock(self._partial / "lock", of=out, choice="OUT")
        self.made = self._partial / "made"
        """The folder that becomes the place asked for."""
        self.n_images = 0
        """Images that are on disk for good: a start that was killed goes on behind them."""
        self.n_files = 0
        """Files that hold many images and are whole."""

    @classmethod
    @contextmanager
    def opened(cls, out: Path, question: dict[str, Any], content: str) -> Iterator[Building]:
        """Begin, or go on; when the block succeeds, the place asked for is there.

        Raises `FolderError` for a place that cannot be written or was begun for another question,
        `JobInUse` while another process builds there.
        """
        building = cls(out, question, content)
        with opening_errors(building._partial, "OUT"):
            building._partial.mkdir(parents=True, exist_ok=True)
        with building._lock:
            building._refuse_if_there()
            building._take_up()
            yield building
            building._finish()

    @classmethod
    def finished_before(cls, out: Path, question: dict[str, Any]) -> int | None:
        """Return how many images a start laid out that was killed when only tidying was left.

        None where there was no such start.
        """
        building = cls(out, question, "")
        note = note_of(building._partial)
        if note is None or note.get("question") != question or not out.is_dir():
            return None
        if os.path.lexists(building.made):
            return None
        with storage_errors(building._partial):
            shutil.rmtree(building._partial)
        return int(note["n_images"])

    def keep(self, n_images: int, n_files: int = 0) -> None:
        """Note that so many images, in so many files, are on disk for good; a heartbeat as well."""
        self._lock.beat()
        self.n_images, self.n_files = n_images, n_files
        note = {
            "question": self._question,
            "content": self._content,
            "n_images": n_images,
            "n_files": n_files,
        }
        write_atomically(note_in(self._partial), json.dumps(note, indent=2).encode())

    def _refuse_if_there(self) -> None:
        """Raise `FolderError` where another process was done while this one looked at the rows."""
        if not os.path.lexists(self._out):
            return
        if note_of(self._partial) is None:
            with storage_errors(self._partial):
                shutil.rmtree(self._partial)
        raise FolderError(_there_already(self._out))

    def _take_up(self) -> None:
        note = note_of(self._partial)
        if note is not None and note.get("content") == self._content and self.made.is_dir():
            self.n_images, self.n_files = note["n_images"], note["n_files"]
            clear_leftovers(self.made, is_ours=True)
            if self.n_images:
                logger.warning(
                    "%s is there: going on behind its first %s.",
                    self._partial,
                    counted(self.n_images, "image"),
                )
            return
        with storage_errors(self.made):
            if os.path.lexists(self.made):
                logger.warning("%s held other images: it is begun anew.", self._partial)
                shutil.rmtree(self.made)
            self.keep(0)
            self.made.mkdir()

    def _finish(self) -> None:
        with storage_errors(self._out):
            os.sync()  # single files are not synced one by one
            self.made.rename(self._out)
            sync_folder(self._out.parent)
            shutil.rmtree(self._partial)


def partial_of(out: Path) -> Path:
    """Return where a place is built."""
    return out.with_name(f"{out.name}.partial")


def note_in(partial: Path) -> Path:
    """Return the path of the note of the question."""
    return partial / "export.json"


def note_of(partial: Path) -> dict[str, Any] | None:
    """Return the note of a place that is being built, None where there is none."""
    try:
        with reading_errors(partial):
            note = json.loads(note_in(partial).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        return None
    return note if isinstance(note, dict) else None


def refuse_taken(out: Path, question: dict[str, Any], folders: list[Path]) -> None:
    """Raise `FolderError` for a place that is there, or that was begun for another question."""
    if not out.name:
        raise FolderError(f"{out} is no name for a new folder.")
    if os.path.lexists(out):
        raise FolderError(_there_already(out))
    for folder in folders:
        if folder.resolve() in out.resolve().parents:
            raise FolderError(f"{out} lies in {folder}, which is read. Choose an OUT elsewhere.")
    partial = partial_of(out)
    if not os.path.lexists(partial):
        return
    if partial.is_symlink() or not partial.is_dir():
        raise FolderError(f"{partial} is no folder, and one is needed there. Move it away.")
    note = note_of(partial)
    if note is None and not all(_is_of_first_moment(path) for path in partial.iterdir()):
        raise FolderError(f"{partial} was not begun by batchgen export. Move it away.")
    known = question if note is None else note.get("question")
    if known != question:
        raise FolderError(
            f"{partial} was begun for another question: {_difference(known, question)}. Ask as "
            "then to go on with it, delete it, or choose another OUT."
        )


def _there_already(out: Path) -> str:
    return f"{out} is there already. Move it away, or choose another OUT."


def _is_of_first_moment(path: Path) -> bool:
    """Whether a file may lie in `OUT.partial` before the note does."""
    return path.name in ("lock", "lock.claim", "lock.takeover") or path.suffix == DRAFT


def _difference(known: Any, question: dict[str, Any]) -> str:
    if not isinstance(known, dict):
        return "it does not say which"
    return "; ".join(
        f"{name} was {known.get(name)!r}, is {value!r}"
        for name, value in question.items()
        if known.get(name) != value
    )
