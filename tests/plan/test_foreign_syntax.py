"""Syntax of other tools is told once a kind, and natural prompts raise no alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batchgen.config.job import JobConfig
from batchgen.config.reading import ReadingConfig
from batchgen.config.sampling import SamplingConfig
from batchgen.plan.foreign_syntax import KINDS, ForeignSyntax
from batchgen.table import open_table

FIELD = Path(__file__).parents[1] / "samples" / "field"
PROMPTS = Path(__file__).parents[3] / "shared/prompts"


def notes(table: Path, limit: int = 10**9, **sampling: Any) -> list[str]:
    """Return what is said of a table."""
    found = ForeignSyntax(JobConfig(table="", sampling=SamplingConfig(**sampling)))
    for rows in open_table(table, ReadingConfig()).chunks(chunk_rows=3):
        found.add(rows, limit)
    return list(found.notes())


def test_each_kind_is_told_with_its_first_row_and_our_own_way() -> None:
    """Of the prompts that users brought."""
    told = "\n".join(notes(FIELD / "foreign-prompts.txt"))
    for first in (
        "'#' in row 0 is a comment",
        "'--ar' in row 1 is an option",
        "'{red|green}' in row 2 is a choice",
        "'__animal__' in row 3 is a wildcard",
        "'<lora:watercolor:0.8>' in row 4 is a LoRA tag",
        "'BREAK' in row 5 is a break",
        "'{prompt}' in row 6 is a place to fill in",
        "'((masterpiece))' in row 7 is a prompt weight",
    ):
        assert told.count(first) == 1
    assert len(told.splitlines()) == 8
    assert "reading.comments='#'" in told


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("a cat, (red:1.3) hat", "a prompt weight"),
        ("a [cat:dog:0.5]", "an edit between steps"),
        ("a [cat|dog]", "a choice"),
        ("a cat, embedding:EasyNegative", "an embedding"),
        ("<lyco:x:1> cat", "a LoRA tag"),
        ("cat --no dogs", "an option of Midjourney"),
    ],
)
def test_more_of_each_kind(tmp_path: Path, prompt: str, kind: str) -> None:
    """In the negative prompt as well, of a row or of the job."""
    table = tmp_path / "t.jsonl"
    table.write_text(f'{{"prompt": "a", "negative_prompt": "{prompt}"}}\n' * 4)
    (told,) = notes(table)
    assert f"in row 0 is {kind} elsewhere" in told
    assert "(4 rows have one)" in told
    table.write_text('{"prompt": "a"}\n')
    (told,) = notes(table, negative_prompt=prompt)
    assert f"in sampling.negative_prompt is {kind} elsewhere" in told


def test_weights_that_are_read_and_rows_that_are_not_drawn_are_no_matter(tmp_path: Path) -> None:
    """With `sampling.weighting`, and beyond `limit`."""
    table = tmp_path / "t.txt"
    table.write_text("a cat\na (red:1.3) cat\n")
    assert notes(table, weighting=True) == []
    assert notes(table, limit=1) == []
    assert len(notes(table)) == 1


@pytest.mark.parametrize(
    "prompt",
    [
        "a sign that says #1 fan",
        "#sunset at the beach",
        "a ratio of 16:9 (widescreen)",
        "well-known -- and loved",
        "x < y > z",
        "a [small] cat {here}",
        "BREAKFAST in bed",
        "a snake_case__name in code",
        "f(x) = (a + b)",
    ],
)
def test_natural_prompts_raise_no_alarm(tmp_path: Path, prompt: str) -> None:
    """Only what has one meaning in another tool does."""
    (tmp_path / "t.txt").write_text(f"{prompt}\n")
    assert notes(tmp_path / "t.txt") == []


@pytest.mark.parametrize("name", ["PartiPrompts.tsv", "geneval.jsonl"])
def test_real_tables_raise_no_alarm(name: str) -> None:
    """Two thousand prompts that people wrote."""
    if not (PROMPTS / name).exists():
        pytest.skip("the tables are not here")
    assert notes(PROMPTS / name) == []


def test_the_page_has_every_kind() -> None:
    """Its table names each as the notes do."""
    page = (Path(__file__).parents[2] / "docs" / "sampling.md").read_text()
    section = page.partition("## Syntax of other tools")[2].partition("\n## ")[0]
    assert [kind.name for kind in KINDS if kind.name not in section] == []
