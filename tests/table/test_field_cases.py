"""Files that users really passed for a table, and what must happen to each."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batchgen.config.reading import ReadingConfig
from batchgen.errors import TableError
from batchgen.table import open_table
from batchgen.table.columns import override

FIELD = Path(__file__).parents[1] / "samples" / "field"

REFUSED = {
    "pointer.parquet": "is a pointer of git-lfs. Run git lfs pull",
    "page.txt": "is an HTML page",
    "zipped.csv": "is compressed with gzip. Rename it: mv ",
    "old-excel.csv": "is an old Excel file. Open it in a spreadsheet",
    "not-zipped.csv.gz": "is not compressed with gzip. Rename it: mv ",
    "utf16-no-mark.txt": "is UTF-16 text. Set reading.encoding=utf-16-le",
    "no-header.csv": "has no header: its first line begins 'a lighthouse at dusk'",
    "by-key.json": "holds JSON objects by key. Make a table of it: python -c ",
    "captions.json": "holds captions as COCO has them. Make a table of it: python -c ",
    "nul.jsonl": "row 1: column 'prompt' has",
}


def rows(path: Path, **reading: Any) -> list[str]:
    """Return the prompts of a table."""
    chunks = open_table(path, ReadingConfig(**reading)).chunks()
    return [str(text) for chunk in chunks for text in chunk.settings["prompt"].to_pylist()]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_is_named_for_what_it_is(name: str) -> None:
    """And never read as prompts."""
    with pytest.raises(TableError) as caught:
        rows(FIELD / name)
    assert REFUSED[name] in str(caught.value)


@pytest.mark.parametrize("name", ["zipped.csv", "not-zipped.csv.gz"])
def test_the_suggested_rename_gives_a_table(tmp_path: Path, name: str) -> None:
    """Pasted into a shell, whatever the folder is called."""
    place = tmp_path / "it's $(here)"
    place.mkdir()
    path = Path(shutil.copy(FIELD / name, place))
    with pytest.raises(TableError) as caught:
        rows(path)
    command = str(caught.value).partition("Rename it: ")[2].rstrip(".")
    subprocess.run(["bash", "-c", command], check=True)
    (renamed,) = place.iterdir()
    assert rows(renamed)


@pytest.mark.parametrize(("name", "n_rows"), [("by-key.json", 2), ("captions.json", 1)])
def test_the_suggested_command_makes_a_table(tmp_path: Path, name: str, n_rows: int) -> None:
    """In the working folder."""
    path = Path(shutil.copy(FIELD / name, tmp_path))
    with pytest.raises(TableError) as caught:
        rows(path)
    command = shlex.split(str(caught.value).partition("Make a table of it: ")[2])
    command[0] = str(Path(__import__("sys").executable))
    subprocess.run(command, cwd=tmp_path, check=True)
    (made,) = (one for one in tmp_path.iterdir() if one != path)
    assert len(rows(made)) == n_rows


def test_utf_16_without_a_mark_is_read_on_request() -> None:
    """As the message says."""
    assert len(rows(FIELD / "utf16-no-mark.txt", encoding="utf-16-le")) == 2


def carried(path: Path, **reading: Any) -> pa.Table:
    """Return the carried columns of a table as a start sees them, after a first pass."""
    table = open_table(path, ReadingConfig(**reading))
    for _ in table.chunks():
        pass
    return pa.Table.from_batches([chunk.carried for chunk in table.chunks()])


def test_nan_and_infinity_are_nulls_and_values_keep_their_types() -> None:
    """Pandas writes them for what is missing."""
    assert carried(FIELD / "nan.jsonl").to_pydict() == {
        "score": [None, 0.5],
        "ok": [True, False],
        "n": [3, 4],
    }


def test_an_array_of_objects_is_a_table() -> None:
    """With numbers and booleans as they are."""
    table = carried(FIELD / "array.json")
    assert len(rows(FIELD / "array.json")) == table.num_rows == 2
    assert [str(field.type) for field in table.schema] == ["double", "bool"]


def test_the_first_line_of_excel_tells_the_delimiter() -> None:
    """And is neither header nor row."""
    assert rows(FIELD / "sep-line.csv") == ["a lighthouse at dusk", "a red kite, high up"]


def test_a_header_can_be_put_in_front_as_the_message_says(tmp_path: Path) -> None:
    """Then the first line is a row as well."""
    path = Path(shutil.copy(FIELD / "no-header.csv", tmp_path))
    with pytest.raises(TableError) as caught:
        rows(path)
    command = str(caught.value).partition("Write one: ")[2]
    subprocess.run(["bash", "-c", command], check=True)
    assert rows(path) == ["a lighthouse at dusk", "a red kite over a beach", "an old bicycle"]


def test_pictures_inside_a_table_are_left_out_and_said() -> None:
    """Unless they are asked for: as bytes then."""
    path = FIELD / "nested.parquet"
    table = carried(path)
    assert table.schema.names == ["score", "tags"]
    assert pa.types.is_float32(table.schema.field("score").type)
    (note,) = open_table(path, ReadingConfig()).notes
    assert "left out of the metadata: image; " in note
    wished = carried(path, carry=["image"])
    assert pa.types.is_binary(wished.schema.field("image").type)
    assert wished["image"].null_count == 0
    assert open_table(path, ReadingConfig(drop=["image"])).notes == []


@pytest.mark.parametrize("name", ["shards", "shards/part-*.parquet"])
def test_shards_are_one_table_in_natural_order(name: str) -> None:
    """Not 1, 10, 2."""
    pattern = str(FIELD / name)
    chunks = list(open_table(pattern, ReadingConfig()).chunks())
    assert [chunk.first_index for chunk in chunks] == [0, 3, 6]
    expected = [f"picture {i} of shard {n}" for n in (1, 2, 10) for i in range(3)]
    assert rows(Path(pattern)) == expected


@pytest.mark.parametrize("name", ["header.txt", "table-inside.txt"])
def test_a_header_in_a_text_file_is_said(name: str) -> None:
    """It is drawn as a prompt otherwise, and nobody told."""
    assert "the first line" in "\n".join(open_table(FIELD / name, ReadingConfig()).notes)


@pytest.mark.parametrize("name", ["lines.txt", "nan.jsonl"])
def test_a_setting_that_the_format_does_not_use_is_named(name: str) -> None:
    """It would change nothing, in silence."""
    with pytest.raises(TableError, match=r"delimiter=',' has no effect on a"):
        open_table(FIELD / name, ReadingConfig(delimiter=","))


def test_a_suggested_column_means_the_same_in_a_shell() -> None:
    """Whatever it is called."""
    with pytest.raises(TableError) as caught:
        rows(FIELD / "column-name.csv")
    assert override("prompt", "prompt (en)") in str(caught.value)
    echoed = subprocess.run(
        ["bash", "-c", f"printf %s {override('prompt', 'a $(b) `c`')}"],
        check=True,
        capture_output=True,
    )
    key, _, value = echoed.stdout.decode().partition("=")
    assert (key, json.loads(value)) == ("reading.columns.prompt", "a $(b) `c`")
