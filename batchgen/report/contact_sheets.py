"""Contact sheets: the images of a job, small, with captions, on as many pictures as it takes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PillowImage
from PIL import ImageDraw

from batchgen.errors import ConfigError
from batchgen.images.image_file import opened
from batchgen.report.layout import (
    COMMON,
    DETAIL,
    MOST_COLUMNS,
    PROMPT,
    PROMPT_OF_ROW,
    TITLE,
    Layout,
    Line,
    Row,
)
from batchgen.report.lettering import Lettering
from batchgen.report.summary import Summary, summarise, tables
from batchgen.runner.grid import label_of
from batchgen.storage.atomic import atomic_file, opening_errors, storage_errors
from batchgen.storage.folder import JobFolder
from batchgen.storage.lock import FolderLock

logger = logging.getLogger(__name__)

_PAPER, _FRAME = "#ffffff", "#d0d0d0"
_ROWS_AT_ONCE = 1024
_N_READERS = 4
_COMPRESSION = 1
"""Higher levels take longer and save a few per cent."""


def contact_sheets(
    folder: JobFolder, *, columns: int = 8, font: Path | None = None
) -> Iterator[Path]:
    """Draw what is finished of a job and yield the path of each sheet as soon as it is written.

    Sheets are PNG files in report/, 00000.png and so on, of at most `columns` by 8 images and at
    most 4,096 pixels a side; those of an earlier report are replaced, surplus ones removed. An
    image that is missing or damaged is an empty frame that says so. One sheet is in memory at a
    time. Safe beside a running job.

    Args:
        folder: The job's.
        columns: Images side by side at most, 1 to 12.
        font: A font file, for prompts in letters that no font found here has.

    Raises:
        FolderError: There is nothing to show.
        JobInUse: Another report of this job is being drawn.
        ConfigError: The font does not open, or no sheet has so many columns.
    """
    if not 1 <= columns <= MOST_COLUMNS:
        raise ConfigError([f"columns is {columns}, and must be from 1 to {MOST_COLUMNS}."])
    lettering, summary = Lettering(font), summarise(folder)
    layout = Layout.of(summary, columns)
    painter = _Painter(folder, summary, layout, lettering)
    with opening_errors(folder.report):
        folder.report.mkdir(exist_ok=True)
    with FolderLock(folder.report / ".lock"):
        n_sheets = 0
        for lines in layout.sheets(_rows(folder)):
            path = folder.report / f"{n_sheets:05d}.png"
            with atomic_file(path) as file:
                painter.sheet(lines).save(file, "PNG", compress_level=_COMPRESSION)
            n_sheets += 1
            yield path
        _remove_surplus(folder.report, n_sheets)
    if lettering.n_lacking:
        logger.warning(
            "%d of %s's captions lack characters that no font found here has. Name a font that has "
            "them, such as --font NotoSansCJK-Regular.ttc",
            lettering.n_lacking,
            folder.root,
        )


def _rows(folder: JobFolder) -> Iterator[Row]:
    for table in tables(folder):
        for batch in table.to_batches(_ROWS_AT_ONCE):
            yield from batch.to_pylist()


def _remove_surplus(report: Path, n_sheets: int) -> None:
    for path in report.glob("*.png"):
        if re.fullmatch(r"\d{5,}", path.stem, re.ASCII) and int(path.stem) >= n_sheets:
            with storage_errors(path):
                path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Painter:
    """Draws the sheets of one job."""

    folder: JobFolder
    summary: Summary
    layout: Layout
    lettering: Lettering

    def sheet(self, lines: list[Line]) -> PillowImage.Image:
        """Return a sheet, RGB."""
        picture = PillowImage.new("RGB", self.layout.size(len(lines)), _PAPER)
        draw = ImageDraw.Draw(picture)
        self._head(draw, lines)
        names = [row["file_name"] for line in lines for _, row in line]
        with ThreadPoolExecutor(_N_READERS) as pool:  # decoding leaves the interpreter free
            thumbnails = pool.map(self._thumbnail, names)
            for number, line in enumerate(lines):
                if self.layout.has_rows:
                    self._prompt_of_row(draw, number, line[0][1])
                for column, row in line:
                    self._place(picture, draw, next(thumbnails), self.layout.box(number, column))
                    self._caption(draw, number, column, row)
        return picture

    def _head(self, draw: ImageDraw.ImageDraw, lines: list[Line]) -> None:
        layout, width = self.layout, self.layout.line_width
        title = label_of(self.folder.root) or self.folder.root.resolve().name
        self.lettering.write(draw, layout.title, width, title, TITLE)
        first, last = lines[0][0][1]["row_index"], lines[-1][-1][1]["row_index"]
        rows = f"row {first}" if first == last else f"rows {first} to {last}"
        common = f"{rows}, {self.summary.common}"
        self.lettering.write(draw, layout.common, width, common, COMMON)

    def _prompt_of_row(self, draw: ImageDraw.ImageDraw, number: int, row: Row) -> None:
        layout = self.layout
        at, width = layout.prompt_of_row(number), layout.line_width
        self.lettering.write(draw, at, width, self._prompt(row), PROMPT_OF_ROW)

    def _caption(self, draw: ImageDraw.ImageDraw, number: int, column: int, row: Row) -> None:
        layout, width = self.layout, self.layout.width
        if not layout.has_rows:
            at = layout.prompt(number, column)
            self.lettering.write(draw, at, width, self._prompt(row), PROMPT)
        if layout.has_details:
            details = self.summary.differences(row)
            self.lettering.write(draw, layout.detail(number, column), width, details, DETAIL)

    def _prompt(self, row: Row) -> str:
        """Return the prompt, or the row's key where no font has its letters."""
        return self.lettering.legible(row["text"], f"row {row['row_key']}")

    def _place(
        self,
        picture: PillowImage.Image,
        draw: ImageDraw.ImageDraw,
        thumbnail: PillowImage.Image | str,
        corner: tuple[int, int],
    ) -> None:
        """Put a thumbnail, or an empty frame with the reason, at the bottom left of its place."""
        (x, y), width, height = corner, self.layout.width, self.layout.height
        if isinstance(thumbnail, str):
            draw.rectangle((x, y, x + width - 1, y + height - 1), outline=_FRAME)
            self.lettering.write(draw, (x + 8, y + 8), width - 16, thumbnail, DETAIL)
        else:
            picture.paste(thumbnail, (x, y + height - thumbnail.height))

    def _thumbnail(self, name: str) -> PillowImage.Image | str:
        """Return an image made small, RGB, or why that cannot be done."""
        if self.folder.image_number(name) is None:
            return "not an image of this job"
        try:
            with opened(self.folder.root / name) as picture:
                size = (self.layout.width, self.layout.height)
                picture.thumbnail(size, PillowImage.Resampling.LANCZOS, reducing_gap=2.0)
                return picture.convert("RGB")
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            return error.strerror or "damaged"
