"""Text of any script on a picture, cut to its place, with the fonts that are there."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageDraw, ImageFont

from batchgen.config.paths import absence
from batchgen.errors import ConfigError

_ELLIPSIS = "…"
_LONGEST = 1000
"""Characters of a text that are looked at; no place holds more."""
_NO_CHARACTER = "\U0010ffff"
_SAMPLE_SIZE = 16

_FALLBACKS = (
    ("NotoSansCJK-Regular.ttc", 2),  # face 2 is Simplified Chinese
    ("NotoSansCJKsc-Regular.otf", 0),
    ("NotoSansSC-Regular.otf", 0),
    ("NotoSansSC-Regular.ttf", 0),
    ("SourceHanSansSC-Regular.otf", 0),
    ("SourceHanSansCN-Regular.otf", 0),
    ("wqy-microhei.ttc", 0),
    ("wqy-zenhei.ttc", 0),
    ("DroidSansFallbackFull.ttf", 0),
    ("DroidSansFallback.ttf", 0),
    ("DejaVuSans.ttf", 0),
)
"""Fonts of Linux distributions, and the face to take, Chinese first; Pillow knows their folders."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a text looks."""

    size: int
    """Of the font, pixels."""
    colour: str
    n_lines: int = 1
    """Lines it may take."""

    @property
    def height(self) -> int:
        """Pixels from the top of the first line to the end of the last."""
        return self.n_lines * self.line_height

    @property
    def line_height(self) -> int:
        """Pixels from line to line."""
        return round(self.size * 1.3)


class Lettering:
    """Writes texts, each with the font that has most of its characters.

    The first is Pillow's own, with ASCII and a few quotation marks, unless `font` names a file;
    then come those of the system. Raises `ConfigError` where `font` is not a font.
    """

    n_lacking: int = 0
    """Texts so far of which characters are left out, because no font has them."""

    def __init__(self, font: Path | None = None) -> None:
        self._first = _Face(None)
        if font is not None:
            try:
                self._first = _Face(str(font))
            except OSError as error:
                why = f"does not open as a font: {error}" if font.exists() else absence(font)
                raise ConfigError([f"{font} {why}. Try another file for --font."]) from error
        self._fallbacks: list[_Face] | None = None

    def write(
        self, draw: ImageDraw.ImageDraw, at: tuple[int, int], width: int, text: str, style: Style
    ) -> None:
        """Write a text from its upper left corner on, wrapped and cut to its lines and width.

        Characters that no font has become an ellipsis.
        """
        text = plain(text)
        face = self._face_for(text)
        text = face.legible(text)
        font, (x, y) = face.at(style.size), at
        for n, line in enumerate(fitted(text, font, width, style.n_lines)):
            baseline = y + n * style.line_height + style.size  # the same for fonts of any height
            draw.text((x, baseline), line, fill=style.colour, font=font, anchor="ls")

    def legible(self, text: str, instead: str) -> str:
        """Return a text, or `instead` where no font has a letter or digit of it; counts lacks."""
        whole = plain(text)
        shown = self._face_for(whole).legible(whole)
        self.n_lacking += shown != whole
        return text if any(map(str.isalnum, shown)) or not whole else instead

    def _face_for(self, text: str) -> _Face:
        if not self._first.n_lacking(text):
            return self._first
        if self._fallbacks is None:
            self._fallbacks = list(_fallbacks())
        return min([self._first, *self._fallbacks], key=lambda face: face.n_lacking(text))


class _Face:
    """A font in all sizes, and which characters it has."""

    def __init__(self, name: str | None, index: int = 0) -> None:
        """Take a font by file name or path, Pillow's own for None; `OSError` if there is none."""
        self._name, self._index = name, index
        self._sizes: dict[int, ImageFont.FreeTypeFont] = {}
        self._has: dict[str, bool] = {}
        self._box = self._mask(_NO_CHARACTER)

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """Return the font in a size, pixels."""
        if size not in self._sizes:
            self._sizes[size] = self._open(size)
        return self._sizes[size]

    def n_lacking(self, text: str) -> int:
        """Return how many characters of a text it does not have."""
        return sum(not self._draws(character) for character in text)

    def legible(self, text: str) -> str:
        """Return a text with an ellipsis for each run of characters that it does not have."""
        kept = (character if self._draws(character) else "\0" for character in text)
        return re.sub("\0+", _ELLIPSIS, "".join(kept))

    def _open(self, size: int) -> ImageFont.FreeTypeFont:
        if self._name is not None:
            return ImageFont.truetype(self._name, size, self._index)
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101  Pillow's wheels have FreeType
        return font

    def _draws(self, character: str) -> bool:
        """Whether a character is not drawn as the box that stands for those a font lacks."""
        if character not in self._has:
            self._has[character] = character == " " or self._mask(character) != self._box
        return self._has[character]

    def _mask(self, character: str) -> tuple[tuple[int, int], bytes]:
        mask = self.at(_SAMPLE_SIZE).getmask(character)
        return mask.size, bytes(mask)


def _fallbacks() -> Iterator[_Face]:
    for name, index in _FALLBACKS:
        with contextlib.suppress(OSError):  # not installed here
            yield _Face(name, index)


def plain(text: str) -> str:
    """Return the beginning of a text as one line, characters composed where they can be."""
    return unicodedata.normalize("NFC", " ".join(text[:_LONGEST].split()))


def fitted(text: str, font: ImageFont.FreeTypeFont, width: int, n_lines: int) -> list[str]:
    """Return a text as lines of at most `width` pixels, the last cut with an ellipsis if need be.

    Lines break at spaces, beside the letters of scripts that have none, and in words that are
    longer than a line.
    """
    lines: list[str] = []
    while text:
        end = _n_fitting(text, font, width)
        if end < len(text) and len(lines) == n_lines - 1:
            room = width - font.getlength(_ELLIPSIS)
            return [*lines, text[: _n_fitting(text, font, room)].rstrip() + _ELLIPSIS]
        if end < len(text):
            end = _break(text, end)
        lines.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return lines


def _n_fitting(text: str, font: ImageFont.FreeTypeFont, width: float) -> int:
    """Return how many characters fit, at least one."""
    most = range(len(text) + 1)
    return max(1, bisect_right(most, width, key=lambda n: font.getlength(text[:n])) - 1)


def _break(text: str, end: int) -> int:
    """Return where a line of at most `end` characters ends best."""
    if text[end] == " " or any(
        unicodedata.east_asian_width(c) in "WF" for c in text[end - 1 : end + 1]
    ):
        return end
    space = text.rfind(" ", 0, end)
    return space if space > 0 else end
