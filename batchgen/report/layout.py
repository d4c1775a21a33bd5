"""Where everything is on a contact sheet; knows no files and draws nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from batchgen.report.lettering import Style
from batchgen.report.summary import Summary

MOST_COLUMNS = 12
"""With thumbnails of 256 pixels no side of a sheet passes 4,096."""

_LINES = 8
_LONGEST_SIDE, _LEAST_WIDTH = 256, 192
_MARGIN, _GUTTER, _GAP, _PARAGRAPH = 24, 16, 6, 20

TITLE = Style(18, "#222222")
COMMON = Style(13, "#767676")
PROMPT = Style(13, "#333333", n_lines=2)
PROMPT_OF_ROW = Style(14, "#333333")
DETAIL = Style(12, "#767676")

Row = dict[str, Any]
"""Metadata of an image by column."""
Line = list[tuple[int, Row]]
"""Images that stand side by side: column, from 0, and metadata."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The measures of a job's contact sheets, in pixels; all its sheets have the same."""

    columns: int
    width: int
    """Of a thumbnail at most; a narrower one keeps to the left."""
    height: int
    """Of a thumbnail at most; a lower one keeps to the bottom."""
    has_rows: bool
    """Whether a row of the table begins a line, with its prompt above; else below each image."""
    has_details: bool
    """Whether what sets it apart stands below each image."""

    @classmethod
    def of(cls, summary: Summary, columns: int) -> Layout:
        """Return the layout for a job.

        Where the table's rows have several images, they share a line, or several of equal length
        if there are more than `columns`.
        """
        n, has_rows = summary.n_per_row, summary.n_per_row > 1
        n_columns = math.ceil(n / math.ceil(n / columns)) if has_rows else columns
        scale = min(1, _LONGEST_SIDE / max(summary.width, summary.height))
        return cls(
            columns=min(n_columns, summary.n_images),
            width=max(_LEAST_WIDTH, round(summary.width * scale)),
            height=max(1, round(summary.height * scale)),
            has_rows=has_rows,
            has_details=bool(summary.varying),
        )

    def sheets(self, rows: Iterable[Row]) -> Iterator[list[Line]]:
        """Yield the lines of each sheet in turn, from images ordered by row and image index."""
        lines = (
            [(column, row) for _, column, row in line]
            for _, line in groupby(self._placed(rows), key=lambda placed: placed[0])
        )
        while sheet := list(islice(lines, _LINES)):
            yield sheet

    def _placed(self, rows: Iterable[Row]) -> Iterator[tuple[object, int, Row]]:
        """Yield what tells an image's line from the next, its column, and its metadata."""
        for number, row in enumerate(rows):
            if self.has_rows:
                line, column = divmod(row["image_index"], self.columns)
                yield (row["row_key"], line), column, row
            else:
                line, column = divmod(number, self.columns)
                yield line, column, row

    def size(self, n_lines: int) -> tuple[int, int]:
        """Return width and height of a sheet."""
        return 2 * _MARGIN + self.line_width, self._top(n_lines) - _PARAGRAPH + _MARGIN

    @property
    def line_width(self) -> int:
        """From the left edge of the first image to the right edge of the last."""
        return self.columns * (self.width + _GUTTER) - _GUTTER

    @property
    def title(self) -> tuple[int, int]:
        """Where the title begins."""
        return _MARGIN, _MARGIN

    @property
    def common(self) -> tuple[int, int]:
        """Where what all images have in common is written."""
        return _MARGIN, _MARGIN + TITLE.height + _GAP

    def prompt_of_row(self, line: int) -> tuple[int, int]:
        """Return where the prompt of a line begins."""
        return _MARGIN, self._top(line)

    def box(self, line: int, column: int) -> tuple[int, int]:
        """Return the upper left corner of the place for an image."""
        above = PROMPT_OF_ROW.height + _GAP if self.has_rows else 0
        return _MARGIN + column * (self.width + _GUTTER), self._top(line) + above

    def prompt(self, line: int, column: int) -> tuple[int, int]:
        """Return where the prompt below an image begins."""
        x, y = self.box(line, column)
        return x, y + self.height + _GAP

    def detail(self, line: int, column: int) -> tuple[int, int]:
        """Return where what sets an image apart is written."""
        x, y = self.prompt(line, column)
        return x, y if self.has_rows else y + PROMPT.height + _GAP // 2

    def _top(self, line: int) -> int:
        _, first = self.common
        first += COMMON.height + _PARAGRAPH
        height = self.height + _GAP
        height += PROMPT_OF_ROW.height + _GAP if self.has_rows else PROMPT.height + _GAP // 2
        height += DETAIL.height if self.has_details else 0
        return first + line * (height + _PARAGRAPH)
