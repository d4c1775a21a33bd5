"""Captions: wrapped, cut, and never boxes in place of letters."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as PillowImage
from PIL import ImageChops, ImageDraw, ImageFont

from batchgen.errors import ConfigError
from batchgen.report import lettering
from batchgen.report.lettering import Lettering, Style, fitted, plain

LONG = "an oil painting of a tree and a building in the rain, masterpiece, highly detailed"
CHINESE = "一只戴着红色围巾的橘猫坐在古老的窗台上看着窗外的雨"


@pytest.fixture
def font() -> ImageFont.FreeTypeFont:
    """Pillow's own font, 12 pixels."""
    own = ImageFont.load_default(12)
    assert isinstance(own, ImageFont.FreeTypeFont)
    return own


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without fonts."""
    monkeypatch.setattr(lettering, "_FALLBACKS", ())


def drawn(text: str, own: Lettering, width: int = 300) -> PillowImage.Image:
    """Return a text on white."""
    picture = PillowImage.new("RGB", (width, 60), "white")
    own.write(ImageDraw.Draw(picture), (0, 0), width, text, Style(12, "black", n_lines=2))
    return picture


def is_same(picture: PillowImage.Image, other: PillowImage.Image) -> bool:
    """Whether two pictures have the same pixels."""
    return ImageChops.difference(picture, other).getbbox() is None


def test_lines_break_at_spaces_and_lose_no_word(font: ImageFont.FreeTypeFont) -> None:
    """None is wider than the place."""
    lines = fitted(LONG, font, 120, 99)
    assert " ".join(lines) == LONG
    assert len(lines) > 3
    assert all(font.getlength(line) <= 120 for line in lines)


def test_the_last_line_ends_with_an_ellipsis_where_text_is_left(
    font: ImageFont.FreeTypeFont,
) -> None:
    """And is no wider with it."""
    lines = fitted(LONG, font, 120, 2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert font.getlength(lines[1]) <= 120


@pytest.mark.parametrize("text", ["w" * 60, CHINESE, f"cat {CHINESE}"])
def test_text_without_spaces_fills_its_lines(font: ImageFont.FreeTypeFont, text: str) -> None:
    """A long word and Chinese break anywhere; the first line is used to its end."""
    lines = fitted(text, font, 100, 99)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(80 < font.getlength(line) <= 100 for line in lines[:-1])


def test_a_place_too_narrow_for_a_letter_still_ends(font: ImageFont.FreeTypeFont) -> None:
    """One letter a line."""
    assert fitted("abc", font, 1, 99) == ["a", "b", "c"]
    assert fitted("", font, 100, 2) == []


def test_a_prompt_of_many_lines_is_one_line_of_composed_letters() -> None:
    """Line breaks and tabs are spaces; e and an accent are one letter."""
    assert plain("a\n\tcafe\u0301 ") == "a café"


@pytest.mark.usefixtures("no_fonts")
def test_letters_that_no_font_has_become_an_ellipsis() -> None:
    """No boxes are drawn."""
    own = Lettering()
    assert is_same(drawn("a cat, 一只猫, detailed", own), drawn("a cat, …, detailed", own))
    assert not is_same(drawn("a cat", own), drawn("a dog", own))


@pytest.mark.usefixtures("no_fonts")
def test_a_prompt_in_letters_no_font_has_is_called_by_its_key() -> None:
    """One letter or digit that can be written is enough to keep it."""
    own = Lettering()
    assert own.legible(CHINESE, "row 7") == "row 7"
    assert own.legible("一只猫 8k", "row 7") == "一只猫 8k"
    assert own.legible("a castle", "row 7") == "a castle"
    assert own.legible("", "row 7") == ""
    assert own.n_lacking == 2


def test_a_font_of_the_system_writes_what_pillows_own_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With DejaVu, where it is installed, Greek is Greek; one that is not there is passed over."""
    try:
        ImageFont.truetype("DejaVuSans.ttf")
    except OSError:
        pytest.skip("DejaVuSans.ttf is not installed")
    monkeypatch.setattr(lettering, "_FALLBACKS", (("no.ttf", 0), ("DejaVuSans.ttf", 0)))
    own = Lettering()
    assert own.legible("Ελλάδα", "row 7") == "Ελλάδα"
    assert own.n_lacking == 0
    assert not is_same(drawn("Ελλάδα", own), drawn("…", own))


def test_a_font_that_is_named_writes_everything(
    tmp_path: Path, font: ImageFont.FreeTypeFont
) -> None:
    """Here Pillow's own, from a file."""
    path = tmp_path / "own.ttf"
    assert font.font_bytes
    path.write_bytes(font.font_bytes)
    expected = PillowImage.new("RGB", (300, 60), "white")
    named = ImageFont.truetype(path, 12)
    ImageDraw.Draw(expected).text((0, 12), "a cat", fill="black", font=named, anchor="ls")
    assert is_same(drawn("a cat", Lettering(path)), expected)


def test_a_file_that_is_no_font_is_refused(tmp_path: Path) -> None:
    """By its name."""
    path = tmp_path / "letters.ttf"
    path.write_bytes(b"no font")
    with pytest.raises(ConfigError, match=r"letters\.ttf does not open as a font"):
        Lettering(path)
    path.unlink()
    with pytest.raises(ConfigError, match=r"letters\.ttf is not there\. Try another"):
        Lettering(path)
