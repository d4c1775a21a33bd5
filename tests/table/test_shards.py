"""Several files as one table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchgen.config.reading import ReadingConfig
from batchgen.errors import TableChanged, TableError
from batchgen.table import Table, open_table

Files = dict[str, str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder."""
    path = tmp_path / "captions"
    path.mkdir()
    return path


def written(folder: Path, files: Files) -> str:
    """Write files into a folder, and return its path as a setting."""
    for name, text in files.items():
        (folder / name).write_text(text)
    return str(folder)


def opened(table: str | Path, **reading: Any) -> Table:
    """Return a table that was read once, as a start does."""
    found = open_table(table, ReadingConfig(**reading))
    for _ in found.chunks():
        pass
    return found


def cells(table: Table, name: str, first_row: int = 0) -> list[Any]:
    """Return all cells of a setting or a carried column."""
    found: list[Any] = []
    for rows in table.chunks(first_row):
        batch = rows.settings if name in rows.settings.schema.names else rows.carried
        found += batch.column(name).to_pylist()
    return found


def test_a_column_that_one_file_lacks_is_null_there(folder: Path) -> None:
    """Whether it gives a setting or is carried."""
    files = {"1.csv": "prompt,topic\na,x\n", "2.csv": "seed,prompt\n7,b\n"}
    table = opened(written(folder, files))
    assert cells(table, "seed") == [None, 7]
    assert cells(table, "topic") == ["x", None]
    assert cells(table, "row_key") == ["0", "1"]


@pytest.mark.parametrize("first_row", [0, 1, 2, 3, 4, 5, 6])
def test_rows_from_any_index_on(folder: Path, first_row: int) -> None:
    """Also in files that no pass has read yet, and over files without rows."""
    files = {"1.csv": "prompt\na\nb\n", "2.csv": "prompt\n", "3.csv": "prompt\nc\nd\ne\n"}
    name = written(folder, files)
    for table in (open_table(name, ReadingConfig()), opened(name)):
        assert cells(table, "prompt", first_row) == list("abcde")[first_row:]
        starts = [rows.first_index for rows in table.chunks(first_row, 2)]
        assert starts == sorted(starts)
        assert all(start >= first_row for start in starts)


def test_numbers_of_several_widths_become_the_wider(folder: Path) -> None:
    """Those of all files together; what is no number in one file is text in all."""
    score: dict[str, Any] = {"1.parquet": pa.int64(), "2.parquet": pa.float32()}
    for name, kind in score.items():
        columns = {"prompt": ["a"], "score": pa.array([2], kind), "mark": pa.array([7], kind)}
        pq.write_table(pa.table(columns), folder / name)
    pq.write_table(pa.table({"prompt": ["b"], "mark": ["x"]}), folder / "3.parquet")
    table = opened(folder)
    assert {field.name: str(field.type) for field in table.carried} == {
        "score": "double",
        "mark": "string",
    }
    assert cells(table, "score") == [2.0, 2.0, None]
    assert cells(table, "mark") == ["7", "7.0", "x"]


def test_types_of_json_are_settled_over_all_files(folder: Path) -> None:
    """Whole numbers in one and others in the next are float64; a flag of one file is a flag."""
    files = {
        "a.jsonl": json.dumps({"prompt": "a", "n": 1, "ok": True, "x": 1}) + "\n",
        "b.jsonl": json.dumps({"prompt": "b", "n": 0.5, "x": "y"}) + "\n",
    }
    table = opened(written(folder, files))
    assert cells(table, "n") == [1.0, 0.5]
    assert cells(table, "ok") == [True, None]
    assert cells(table, "x") == ["1", "y"]


def test_hidden_files_and_others_are_no_shards(folder: Path) -> None:
    """As other readers of such folders have it."""
    files = {"1.csv": "prompt\na\n", ".2.csv": "x\n", "_SUCCESS.csv": "x\n", "README.md": "x"}
    assert cells(opened(written(folder, files)), "prompt") == ["a"]


def test_files_of_two_formats_are_refused_with_a_choice(folder: Path) -> None:
    """Which works."""
    name = written(folder, {"1.csv": "prompt\na\n", "2.jsonl": '{"prompt": "b"}\n'})
    with pytest.raises(TableError, match=r"two formats, 1\.csv and 2\.jsonl") as caught:
        open_table(name, ReadingConfig())
    pattern = str(caught.value).rpartition("table=")[2].strip("\"'.")
    assert cells(opened(pattern), "prompt") == ["a"]


@pytest.mark.parametrize("name", ["", "*.csv", "**/*.parquet"])
def test_nothing_in_a_folder_or_behind_a_pattern_is_refused(folder: Path, name: str) -> None:
    """By its name."""
    with pytest.raises(TableError, match=r"without a table in it|matches no file"):
        open_table(folder / name, ReadingConfig())


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder: Path) -> None:
    """It is there, after all."""
    written(folder, {"a[1].csv": "prompt\na\n", "a1.csv": "prompt\nb\n"})
    assert cells(opened(folder / "a[1].csv"), "prompt") == ["a"]


def test_a_bad_cell_is_named_by_its_file_and_row_there(folder: Path) -> None:
    """Nobody counts over files."""
    name = written(folder, {"1.csv": "prompt\na\nb\n", "2.csv": "prompt,seed\nc,1\nd,x\n"})
    with pytest.raises(TableError, match=r"2\.csv, row 1: column 'seed' has 'x'"):
        opened(name)
    (folder / "2.csv").write_text("prompt,seed\nc,1\nd,2\n")
    assert opened(name).place(3) == f"{folder / '2.csv'}, row 1"


def test_a_file_that_changes_while_all_are_read_is_said(folder: Path) -> None:
    """As of one file."""
    table = opened(written(folder, {"1.csv": "prompt\na\n", "2.csv": "prompt\nb\n"}))
    before = table.sha256()
    (folder / "2.csv").write_text("prompt\nb\nc\n")
    with pytest.raises(TableChanged):
        cells(table, "prompt")
    again = opened(str(folder))
    assert again.sha256() != before
    assert again.stamp != table.stamp


def test_a_column_that_comes_late_in_a_later_file_is_carried(folder: Path) -> None:
    """The first lines of a JSON file stand for its header; it may have more below."""
    many = json.dumps({"prompt": "p"}) + "\n"
    files = {
        "a.jsonl": many * 3,
        "b.jsonl": many * 1500 + json.dumps({"prompt": "p", "x": 1}) + "\n",
    }
    table = opened(written(folder, files))
    assert table.carried.names == ["x"]
    assert cells(table, "x") == [None] * 1503 + [1]


def test_values_that_fit_no_common_type_are_refused_by_column(folder: Path) -> None:
    """With the file, and a way on."""
    kinds: dict[str, Any] = {"1.parquet": pa.int64(), "2.parquet": pa.uint64()}
    for name, kind in kinds.items():
        value = 2**63 if name == "2.parquet" else 1
        pq.write_table(pa.table({"prompt": ["a"], "x": pa.array([value], kind)}), folder / name)
    with pytest.raises(TableError, match=r"2\.parquet: column 'x' of type uint64 does not become"):
        opened(folder)
    assert cells(opened(folder, drop=["x"]), "prompt") == ["a", "a"]
