"""What holds for every table: prompts survive each format, and no bytes do more than be refused."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.config.reading import ReadingConfig
from batchgen.errors import TableError
from batchgen.table import open_table

PROMPTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1).filter(
        lambda text: not text.isspace()
    ),
    min_size=1,
    max_size=8,
)
TOKENS = [
    *b'" , \n \r \t prompt id seed 1 { } [ ] : \\u d800 1e999 NaN null'.split(b" "),
    *(b'{"prompt": "a"', b" ", b"\xff", b"\x00", b"\xd2\xbb", b"\xef\xbb\xbf"),
]
SYNTAX = st.lists(st.sampled_from(TOKENS), max_size=40).map(b"".join)


@contextmanager
def file_named(name: str) -> Iterator[Path]:
    """Give a path in a folder of its own: hypothesis runs many examples in one test."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / name


def prompts_of(path: Path, chunk_rows: int = 3) -> list[str]:
    """Return the prompts of a table, and check that the rows follow each other."""
    prompts: list[str] = []
    for rows in open_table(path, ReadingConfig()).chunks(chunk_rows=chunk_rows):
        assert rows.first_index == len(prompts)
        assert 0 < rows.settings.num_rows <= chunk_rows
        prompts += [str(text) for text in rows.settings.column("prompt").to_pylist()]
    return prompts


def outcome_of(path: Path) -> list[str] | str:
    """Return the prompts of a table, or the message that refuses it."""
    try:
        return prompts_of(path)
    except TableError as error:
        return str(error)


@given(PROMPTS)
@settings(max_examples=60, deadline=None)
def test_prompts_survive_csv(prompts: list[str]) -> None:
    """What the standard library's writer writes is read to the letter."""
    with file_named("t.csv") as path:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["prompt", "x"], *([text, "1"] for text in prompts)])
        assert prompts_of(path) == prompts


@given(PROMPTS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_prompts_survive_json_lines(prompts: list[str], ensure_ascii: bool) -> None:
    """Escaped and plain."""
    with file_named("t.jsonl") as path:
        lines = (json.dumps({"prompt": p}, ensure_ascii=ensure_ascii) + "\n" for p in prompts)
        path.write_bytes("".join(lines).encode())
        assert prompts_of(path) == prompts


@given(PROMPTS)
@settings(max_examples=30, deadline=None)
def test_prompts_survive_parquet(prompts: list[str]) -> None:
    """Whatever the row groups."""
    with file_named("t.parquet") as path:
        pq.write_table(pa.table({"prompt": prompts}), path, row_group_size=2)
        assert prompts_of(path) == prompts


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.txt", "t.csv.gz", "t.parquet"])
@given(content=st.one_of(st.binary(max_size=200), SYNTAX), has_header=st.booleans())
@settings(max_examples=80, deadline=None)
def test_any_bytes_are_rows_or_refused(name: str, content: bytes, has_header: bool) -> None:
    """No other exception, and nothing that is neither."""
    content = b"prompt,seed\n" + content if has_header else content
    with file_named(name) as path:
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        outcome = outcome_of(path)
    assert isinstance(outcome, list) or (str(path) in outcome and "\n" not in outcome)
    assert outcome
