"""Columns that look like settings are named, and none is used unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchgen.config.reading import ReadingConfig
from batchgen.errors import TableError
from batchgen.table import SETTINGS, Table, open_table
from batchgen.table.columns import SIZE
from batchgen.table.lookalikes import _WORDS, lookalikes

FIELD = Path(__file__).parents[1] / "samples" / "field"


def table(path: Path, text: str, columns: dict[str, str]) -> Table:
    """Write and open a table."""
    path.write_text(text)
    return open_table(path, ReadingConfig(columns=columns))


def test_the_columns_of_another_tool_are_told_one_by_one() -> None:
    """Each with the setting that would use it."""
    found = open_table(FIELD / "foreign-columns.csv", ReadingConfig())
    assert found.carried.names == ["sampler", "size", "W", "H", "sampling_steps", "uc"]
    said = "\n".join(found.notes)
    for column, setting in (
        ("sampler", "scheduler"),
        ("size", "size"),
        ("W", "width"),
        ("H", "height"),
        ("sampling_steps", "steps"),
        ("uc", "negative_prompt"),
    ):
        assert said.count(f"reading.columns.{setting}={column}") == 1


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("scheduler_name", "scheduler"),
        ("samplerName", "scheduler"),
        ("negativePrompt", "negative_prompt"),
        ("Batch Count", "images_per_prompt"),
        ("image-width", "width"),
        ("stpes", "steps"),
    ],
)
def test_other_spellings_are_known(name: str, setting: str) -> None:
    """Case, blanks and dashes make no difference, nor does a slip."""
    (note,) = lookalikes([name], ["prompt"])
    assert f"reading.columns.{setting}=" in note
    assert not list(lookalikes([name], ["prompt", setting]))


@pytest.mark.parametrize(
    "name", ["category", "score", "topic", "note", "model_score", "what", "tag", "source", "url"]
)
def test_other_columns_are_not_mentioned(name: str) -> None:
    """They are the table's own."""
    assert not list(lookalikes([name], ["prompt"]))


def test_what_no_row_can_say_is_told_as_well() -> None:
    """A column `model` draws nothing with another model."""
    notes = list(lookalikes(["model", "aspect_ratio"], ["prompt"]))
    assert [("-m model=a,b" in note, "width and height" in note) for note in notes] == [
        (True, False),
        (False, True),
    ]


def test_every_word_is_of_a_setting() -> None:
    """A setting that is renamed takes its words along."""
    assert {*_WORDS} <= {*SETTINGS, SIZE}


@pytest.mark.parametrize(
    "size", ["832x1216", " 832 X 1216 ", "832×1216", "832*1216", "832 by 1216"]
)
def test_a_column_of_sizes_gives_width_and_height(tmp_path: Path, size: str) -> None:
    """Where it is asked for; an empty cell is the job's own size."""
    found = table(tmp_path / "t.csv", f"prompt,res\na,{size}\nb,\n", {"size": "res"})
    (rows,) = found.chunks()
    assert rows.settings["width"].to_pylist() == [832, None]
    assert rows.settings["height"].to_pylist() == [1216, None]
    assert found.carried.names == []


@pytest.mark.parametrize(
    ("size", "problem"),
    [("wide", "is not a size such as 832x1216"), ("832x7", "has a height that"), ("832", "is not")],
)
def test_a_bad_size_is_named_by_its_row(tmp_path: Path, size: str, problem: str) -> None:
    """As any bad cell."""
    found = table(tmp_path / "t.csv", f"prompt,res\na,64x64\nb,{size}\n", {"size": "res"})
    with pytest.raises(TableError, match=f"row 1: column 'res' has '{size}', which {problem}"):
        list(found.chunks())


def test_a_size_beside_a_width_is_refused(tmp_path: Path) -> None:
    """Which of the two is meant cannot be known."""
    with pytest.raises(TableError, match=r"gives the size, and column 'width' the width"):
        table(tmp_path / "t.csv", "prompt,res,width\na,64x64,64\n", {"size": "res"})
