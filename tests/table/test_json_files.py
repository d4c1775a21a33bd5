"""JSON Lines and arrays: the types of their values, and how broken ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchgen.config.reading import ReadingConfig
from batchgen.errors import TableError
from batchgen.table import Table, open_table

Objects = list[dict[str, Any]]


def lines(objects: Objects) -> str:
    """Return objects as JSON Lines."""
    return "".join(json.dumps(one) + "\n" for one in objects)


def read(path: Path, text: str) -> tuple[Table, dict[str, list[Any]]]:
    """Write a file, read it twice as a start does, and return its carried columns."""
    path.write_text(text)
    table = open_table(path, ReadingConfig())
    for _ in table.chunks():
        pass
    columns: dict[str, list[Any]] = {name: [] for name in table.carried.names}
    for rows in table.chunks(chunk_rows=2):
        for name in columns:
            columns[name] += rows.carried[name].to_pylist()
    return table, columns


@pytest.mark.parametrize(
    ("values", "kind", "carried"),
    [
        ([1, 2, None], "int64", [1, 2, None]),
        ([1, 0.5, 2], "double", [1.0, 0.5, 2.0]),
        ([True, None, False], "bool", [True, None, False]),
        (["a", None], "string", ["a", None]),
        ([None, None], "string", [None, None]),
        ([1, "a", True, 0.5], "string", ["1", "a", "true", "0.5"]),
        ([1, True], "string", ["1", "true"]),
        ([["a", 1], {"b": None}], "string", ['["a", 1]', '{"b": null}']),
        ([2**63 - 1, -(2**63) + 1], "int64", [2**63 - 1, -(2**63) + 1]),
        ([2**63, 1], "string", [str(2**63), "1"]),
        ([2**53 + 1, 0.5], "string", [str(2**53 + 1), "0.5"]),
    ],
)
def test_values_keep_the_type_that_the_whole_column_has(
    tmp_path: Path, values: list[Any], kind: str, carried: list[Any]
) -> None:
    """A type is settled when all rows were seen; what does not agree is text."""
    objects = [{"prompt": "p", "x": value} for value in values]
    for path, text in (("t.jsonl", lines(objects)), ("t.json", json.dumps(objects))):
        table, columns = read(tmp_path / path, text)
        assert str(table.carried.field("x").type) == kind
        assert columns["x"] == carried


def test_columns_that_give_settings_are_read_as_before(tmp_path: Path) -> None:
    """An id of 7 and one of 7.5 are "7" and "7.5" in every pass."""
    objects = [{"id": 7, "prompt": "p", "steps": 5}, {"id": 7.5, "prompt": "p", "steps": 6.0}]
    table, _ = read(tmp_path / "t.jsonl", lines(objects))
    for _ in range(2):
        (rows,) = table.chunks()
        assert rows.settings["row_key"].to_pylist() == ["7", "7.5"]
        assert rows.settings["steps"].to_pylist() == [5, 6]


def test_a_column_that_comes_late_has_its_type(tmp_path: Path) -> None:
    """In the first lines it is null."""
    objects = [{"prompt": "p"}] * 1200 + [{"prompt": "p", "late": 3}]
    table, columns = read(tmp_path / "t.jsonl", lines(objects))
    assert str(table.carried.field("late").type) == "int64"
    assert columns["late"][-2:] == [None, 3]


def test_an_array_longer_than_a_block_is_read_piece_by_piece(tmp_path: Path) -> None:
    """Wherever the blocks are cut."""
    objects = [{"prompt": f"{n} " + "ö, ]}" * (n % 50), "n": n} for n in range(3000)]
    for indent in (None, 1):
        table, columns = read(tmp_path / "t.json", json.dumps(objects, indent=indent))
        prompts = [p for rows in table.chunks() for p in rows.settings["prompt"].to_pylist()]
        assert prompts == [one["prompt"] for one in objects]
        assert columns["n"] == list(range(3000))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "has no rows"),
        ('[{"prompt": "a"}, 3]', "row 1 is not a JSON object"),
        ('[{"prompt": "a"} {"prompt": "b"}]', "row 1 is not JSON"),
        ('[{"prompt": "a"}, {"prompt": "b"', "row 1 is not JSON"),
        ('[{"prompt": "a"},', "row 1 is missing"),
        ('[{"prompt": "a"', "row 0 is not JSON"),
        ('[{"prompt": "a", "prompt": "b"}]', "row 0 is not JSON (the key 'prompt' comes twice)"),
        ('{"prompt": "a"}\n{"prompt": "b"}\n', "holds more than one JSON value"),
        ("nothing", "is not JSON"),
        ('{"prompt": "a"}', "holds one JSON object. Write an array"),
        ("3", "holds no rows"),
    ],
)
def test_a_json_file_that_is_no_table_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """With the row and what is there."""
    with pytest.raises(TableError) as caught:
        read(tmp_path / "t.json", text)
    assert problem in str(caught.value)


def test_the_last_suffix_tells_the_form(tmp_path: Path) -> None:
    """Lines stay lines, whatever stands before it."""
    table, _ = read(tmp_path / "t.json.jsonl", lines([{"prompt": "a"}, {"prompt": "b"}]))
    assert sum(rows.settings.num_rows for rows in table.chunks()) == 2
