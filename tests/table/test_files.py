"""What a table may be besides one file, and what it may not."""

from __future__ import annotations

import shlex
import zipfile
from pathlib import Path

import pytest

from batchgen.config.reading import ReadingConfig
from batchgen.errors import TableError
from batchgen.table import files_of, open_table


@pytest.mark.parametrize("table", ["-", "/dev/stdin", "/proc/self/fd/0"])
def test_standard_input_is_refused_with_a_way(table: str) -> None:
    """A table is read twice, and a resume reads it again."""
    with pytest.raises(TableError, match=r"is standard input.* > prompts\.csv"):
        files_of(table)


@pytest.mark.parametrize("scheme", ["https", "s3", "hf", "OBS"])
def test_a_url_is_refused_with_a_way(scheme: str) -> None:
    """For those of the web, with the command."""
    url = f"{scheme}://example.org/a b.csv"
    with pytest.raises(TableError, match="is a URL") as caught:
        files_of(url)
    if scheme == "https":
        command = shlex.split(str(caught.value).partition("first: ")[2])
        assert command == ["curl", "-fLO", url]


def test_tables_of_subfolders_are_told_with_their_pattern(tmp_path: Path) -> None:
    """Which takes them."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.jsonl").write_text("{}")
    with pytest.raises(TableError, match="For those of its subfolders: ") as caught:
        files_of(tmp_path / "a")
    (word,) = shlex.split(str(caught.value).partition("subfolders: ")[2])
    assert files_of(word.partition("=")[2].strip('"')) == [tmp_path / "a" / "b" / "x.jsonl"]


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["xl/workbook.xml"], "an Excel file (.xlsx). Open it in a spreadsheet"),
        (["content.xml"], "an OpenDocument spreadsheet. Open it"),
        (["prompts.csv"], "a zip archive. Unpack it: unzip "),
        ([], "a broken zip archive"),
    ],
)
def test_archives_are_told_apart(tmp_path: Path, names: list[str], kind: str) -> None:
    """Whatever the file is called."""
    for suffix in ("xlsx", "csv", "data"):
        path = tmp_path / f"t.{suffix}"
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "x")
        if not names:
            path.write_bytes(b"PK\x03\x04 cut off")
        with pytest.raises(TableError) as caught:
            open_table(path, ReadingConfig())
        assert f"{path} is {kind}" in str(caught.value)
