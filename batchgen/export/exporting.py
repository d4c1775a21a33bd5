"""From a question to a folder that is whole."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from batchgen.config.counts import counted
from batchgen.config.decimals import size_text
from batchgen.errors import ConfigError, FolderError, Stopped, StorageError
from batchgen.export import card as dataset_card
from batchgen.export.building import Building, refuse_taken
from batchgen.export.gathering import Entry, Gathering
from batchgen.export.handover import Handover
from batchgen.export.layouts import LAYOUTS, Layout
from batchgen.export.question import Question
from batchgen.plan.fingerprint import text_hashes
from batchgen.storage.atomic import existing_parent, storage_errors

logger = logging.getLogger(__name__)

_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to."""

    question: Question
    n_images: int
    n_made: int
    """Those of this start; the rest was there from one that was killed."""
    seconds: float

    def line(self) -> str:
        """Return it in words."""
        rate = self.n_made / max(self.seconds, 1e-9)
        remark = LAYOUTS[self.question.layout].remark
        return (
            f"{self.question.out}: {counted(self.n_images, 'image')} as {self.question.layout}, "
            f"{rate:.3g} images/s{remark and '; '}{remark}"
        )


def export(question: Question) -> Exported:
    """Lay out the finished images of jobs as another tool reads them.

    Raises:
        ConfigError: The question is none.
        FolderError: A folder, the place asked for or a row does not fit.
        JobInUse: A start works in one of the jobs, or another export builds in this place.
        StorageError: The place has no room, or cannot be written any more.
        ImagesDamaged: Image files are missing or have other bytes; nothing is at the place.
    """
    layout = _layout_of(question)
    note = question.as_note()
    finished = Building.finished_before(question.out, note)
    if finished is not None:
        return Exported(question, finished, 0, 0.0)
    refuse_taken(question.out, note, question.folders)
    gathering = Gathering(question)
    _refuse_twins(gathering)
    survey = _Survey(gathering)
    survey.refuse_misfits(layout, question)
    card = dataset_card.card(question, gathering, survey.line(), layout.data_files)
    started = time.monotonic()
    with Building.opened(question.out, note, survey.content) as building:
        n_before = building.n_images
        _refuse_if_full(question, survey)
        handover = Handover(gathering, building, survey.n_images, link=question.link)
        layout.lay_out(handover)
        if layout.has_card:
            handover.write(dataset_card.NAME, card)
        again = _Survey(gathering)
        again.look()
        if again.content != survey.content:
            raise Stopped(
                f"{question.folders[0]} changed while it was exported. Start the same command "
                "again when no job runs in it."
            )
        building.keep(survey.n_images, building.n_files)
    seconds = time.monotonic() - started
    return Exported(question, survey.n_images, survey.n_images - n_before, seconds)


def _layout_of(question: Question) -> Layout:
    layout = LAYOUTS.get(question.layout)
    if layout is None:
        raise ConfigError(
            [f"--to {question.layout!r} is no layout; there are: {', '.join(LAYOUTS)}."]
        )
    problems = []
    if question.link and not layout.can_link:
        able = [name for name, one in LAYOUTS.items() if one.can_link]
        problems.append(f"--link: {question.layout} holds no links; these do: {', '.join(able)}.")
    if question.columns is not None and not layout.data_files:
        problems.append(f"--columns: {question.layout} has no columns of one's choice.")
    if problems:
        raise ConfigError(problems)
    return layout


@dataclass(slots=True)
class _Survey:
    """What one look at all rows shows, before anything is written."""

    gathering: Gathering
    n_images: int = 0
    n_rows: int = 0
    n_bytes: int = 0
    """Of the image files that are there."""
    content: str = ""
    """A hash of all that is exported; jobs that changed have another."""

    def line(self) -> str:
        """Return in words how much there is."""
        n_jobs = counted(len(self.gathering.jobs), "job")
        return f"{counted(self.n_images, 'image')} of {counted(self.n_rows, 'row')} of {n_jobs}"

    def look(self) -> None:
        """Look at all rows."""
        for _ in self._entries():
            pass

    def refuse_misfits(self, layout: Layout, question: Question) -> None:
        """Look at all rows; raise `FolderError` for those that the layout cannot hold."""
        lacking = [name for name in layout.needs if name not in self.gathering.own]
        if lacking:
            raise FolderError(
                f"--to {question.layout} needs the columns {', '.join(layout.needs)} in the prompt "
                f"table; {question.folders[0]} has no {', '.join(lacking)}. The table's own are: "
                f"{', '.join(self.gathering.own) or 'none'}."
            )
        problems = list(layout.problems(self._entries()))
        if problems:
            more = len(problems) - _MOST_NAMED
            said = problems[:_MOST_NAMED] + ([f"and {more:,} more like these"] if more > 0 else [])
            raise FolderError(
                "\n".join([f"--to {question.layout} cannot hold these images:", *said])
            )
        if not self.n_images:
            raise FolderError(
                f"There is no image to export: {', '.join(map(str, question.folders))} has none"
                f"{_chosen(question)}."
            )

    def _entries(self) -> Iterator[Entry]:
        """Yield all images, and count them on the way."""
        digest = hashlib.sha256()
        for entry in self.gathering.entries():
            row = [entry.row["file_sha256"], self.gathering.exported(entry)]
            digest.update(json.dumps(row, default=str).encode())
            self.n_images, self.n_rows = self.n_images + 1, entry.row_number + 1
            self.n_bytes += _size_of(entry.path)
            yield entry
        self.content = digest.hexdigest()


def _chosen(question: Question) -> str:
    options = {"--where": question.where, "--only": question.only, "--without": question.without}
    given = [name for name, value in options.items() if value is not None]
    return f" with {' and '.join(given)}" if given else ""


def _refuse_twins(gathering: Gathering) -> None:
    """Raise `FolderError` for two images of one id; eight bytes an image."""
    parts = [np.zeros(0, dtype=np.uint64), *map(text_hashes, gathering.ids())]
    hashes, counts = np.unique(np.concatenate(parts), return_counts=True)
    twins = hashes[counts > 1]
    if not len(twins):
        return
    found = (ids.filter(pa.array(np.isin(text_hashes(ids), twins))) for ids in gathering.ids())
    twin = next(ids[0].as_py() for ids in found if len(ids))
    raise FolderError(
        f"Two images have the id {twin!r}: ids are KEY-INDEX, in a grid POINT-KEY-INDEX. Export "
        "the folders one by one."
    )


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # said when it is read
        return 0


def _refuse_if_full(question: Question, survey: _Survey) -> None:
    """Raise `StorageError` where the images do not fit on the disk."""
    place = existing_parent(question.out)
    with storage_errors(place):
        free = shutil.disk_usage(place).free
    if not question.link and free < survey.n_bytes:
        raise StorageError(
            f"{place}: {counted(survey.n_images, 'image')} have {size_text(survey.n_bytes)}, and "
            f"{size_text(free)} are free. Make room, or choose another OUT; the same command goes "
            "on."
        )
