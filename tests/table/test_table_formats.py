"""Each file format: what it gives, and how a broken file is refused."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchgen.config.reading import ReadingConfig
from batchgen.errors import TableError
from batchgen.table import SETTINGS, Table, open_table

PROMPTS = Path(__file__).parents[3] / "shared/prompts"


def opened(path: Path, content: str | bytes, **reading: Any) -> Table:
    """Write a file, and open it as a table."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_table(path, ReadingConfig(**reading))


def column(table: Table, name: str = "prompt", **where: int) -> list[Any]:
    """Return all cells of a setting, or of a carried column."""
    cells: list[Any] = []
    for rows in table.chunks(**where):
        batch = rows.settings if name in SETTINGS else rows.carried
        cells += batch.column(name).to_pylist()
    return cells


def refusal(path: Path, content: str | bytes, **reading: Any) -> str:
    """Return the message that a file is refused with, when opened or when read through."""
    with pytest.raises(TableError) as caught:
        list(opened(path, content, **reading).chunks())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


@pytest.fixture
def csv_path(tmp_path: Path) -> Path:
    """Return the path of a CSV file that is not there yet."""
    return tmp_path / "t.csv"


@pytest.fixture
def jsonl_path(tmp_path: Path) -> Path:
    """Return the path of a JSON Lines file that is not there yet."""
    return tmp_path / "t.jsonl"


@pytest.fixture
def parquet_path(tmp_path: Path) -> Path:
    """Return the path of a Parquet file that is not there yet."""
    return tmp_path / "t.parquet"


def zstd(content: bytes) -> bytes:
    """Return bytes packed with zstd."""
    return bytes(pa.compress(content, "zstd", asbytes=True))


@pytest.mark.parametrize("packed", ["", ".gz", ".GZ", ".zst"])
@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".csv", "id,prompt\n1,a cat\n2,一只猫\n"),
        (".TSV", "id\tprompt\n1\ta cat\n2\t一只猫\n"),
        (".jsonl", '{"prompt": "a cat"}\n{"prompt": "一只猫"}\n'),
        (".ndjson", '{"prompt": "a cat"}\n{"prompt": "一只猫"}'),
        (".txt", "a cat\n\n一只猫\n"),
        (".json", '[{"prompt": "a cat"},\n {"prompt": "一只猫"}]'),
    ],
)
def test_every_text_form_is_read_plain_and_packed(
    tmp_path: Path, suffix: str, text: str, packed: str
) -> None:
    """The suffix decides, in any case."""
    content = text.encode()
    if packed:
        content = zstd(content) if packed == ".zst" else gzip.compress(content)
    assert column(opened(tmp_path / f"t{suffix}{packed}", content)) == ["a cat", "一只猫"]


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    """Truncated, corrupted and not gzip at all."""
    whole = gzip.compress(b"prompt\n" + b"".join(b"%d\n" % i for i in range(10_000)))
    path = tmp_path / "t.csv.gz"
    assert "cannot be read" in refusal(path, whole[:-2000])
    assert "cannot be read" in refusal(path, whole[:3000] + b"\xff" * 50 + whole[3050:])
    assert "is not compressed with gzip. Rename it: mv" in refusal(path, b"prompt\na cat\n")


def test_a_damaged_zstd_file_is_refused(tmp_path: Path) -> None:
    """Truncated, packed otherwise and not at all."""
    whole = zstd(b"prompt\n" + b"".join(b"%d\n" % i for i in range(10_000)))
    path = tmp_path / "t.csv.zst"
    assert "cannot be read" in refusal(path, whole[:-2000])
    assert "is not compressed with zstd. Rename it: mv" in refusal(path, b"prompt\na cat\n")
    assert f"{path} {tmp_path / 't.csv.gz'}." in refusal(path, gzip.compress(b"prompt\na cat\n"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", '"prompt",x\r\na cat,1\r\n'),
        ("t.tsv", "prompt\ta cat\na cat\t1"),
        ("t.jsonl", '{"prompt": "a cat"}\r\n'),
        ("t.txt", "a cat\r\n"),
    ],
)
def test_a_byte_order_mark_is_stripped(tmp_path: Path, name: str, text: str) -> None:
    """Excel writes one; so do others, in other encodings, and with Windows' line ends."""
    path = tmp_path / name
    assert column(opened(path, text.encode("utf-8-sig"))) == ["a cat"]
    for encoding in ("utf-16", "gb18030"):
        content = text if encoding == "utf-16" else f"\ufeff{text}"
        assert column(opened(path, content.encode(encoding), encoding=encoding)) == ["a cat"]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.txt"])
def test_undeclared_gbk_is_named_and_never_guessed(tmp_path: Path, name: str) -> None:
    """The message names the row and shows what the cell would read; declared, it is read."""
    # Not every text would do: the bytes of 一只猫 in GBK happen to be UTF-8 for Cyrillic letters.
    cells = {"t.jsonl": '{"prompt": "%s"}\n'}.get(name, "%s\n")
    head = "prompt\n" if name.endswith("sv") else ""
    content = (head + cells % "a cat" + cells % "一只小狗").encode("gb18030")
    message = refusal(tmp_path / name, content)
    assert "row 1:" in message
    assert "bytes that are not utf-8. Set reading.encoding=gb18030 if" in message
    assert "一只小狗" in message
    table = opened(tmp_path / name, content, encoding="gb18030")
    assert column(table) == ["a cat", "一只小狗"]


def test_undeclared_encodings_in_a_header_are_named(csv_path: Path) -> None:
    """GBK and UTF-16, as Excel writes them."""
    message = refusal(csv_path, "提示,种子\n一只猫,1\n".encode("gb18030"))
    assert "header has" in message
    assert "reading.encoding=gb18030 if '提示'" in message
    message = refusal(csv_path, "prompt\na cat\n".encode("utf-16"))
    assert "Set reading.encoding=utf-16" in message


def test_other_wrong_bytes_are_refused_with_what_fits(csv_path: Path) -> None:
    """Western text gets a western encoding, and a wrong declaration is refused as well."""
    assert "reading.encoding=cp1252 if 'café'" in refusal(csv_path, b"prompt\ncaf\xe9\n")
    assert "are not gb18030" in refusal(csv_path, b"prompt\ncaf\xff\n", encoding="gb18030")
    message = refusal(csv_path, b"\xff\xfep\x00\x00\xd8\n\x00", encoding="utf-16")
    assert "is not utf-16 text" in message


def test_quoted_cells_hold_delimiters_quotes_and_line_breaks(csv_path: Path) -> None:
    """Quotes are doubled, as every writer of CSV does."""
    prompts = ["a, b", 'say ""hi""', "two\nlines", "two\r\nlines", '6" pipe']
    text = "".join(f"{p}\n" if p.startswith("6") else f'"{p}"\n' for p in prompts)
    assert column(opened(csv_path, f"prompt\n{text}")) == [
        *("a, b", 'say "hi"', "two\nlines", "two\r\nlines", '6" pipe')
    ]


def test_an_unclosed_quote_is_named_where_it_opened(csv_path: Path) -> None:
    """The rest of the file does not become one prompt."""
    rows = "".join(f"{i},a cat\n" for i in range(3000))
    message = refusal(csv_path, f'id,prompt\n{rows}x,"an open, {"o" * 90}\n{rows}')
    start = f"an open, {'o' * 90}"[:59]
    assert f"row 3000 (line 3002): a quote is opened and not closed: '\"{start}'..." in message


def test_an_unclosed_quote_in_a_large_file_is_found_early(csv_path: Path) -> None:
    """What an open quote can swallow is bounded."""
    content = 'prompt\nfine\n"open\n' + ("x" * 1023 + "\n") * 17_000
    assert "row 1 (line 3): a quote is opened and not closed: '\"open\\nxx" in refusal(
        csv_path, content
    )


def test_an_unclosed_quote_is_seen_at_the_next_quoted_cell(csv_path: Path) -> None:
    """Text after a closing quote means that a quote before it was not meant so."""
    message = refusal(csv_path, 'prompt,x\na,1\n"b,2\nc,3\n"d, e",4\n')
    assert "row 1 (line 3)" in message
    assert "expected after '\"', in '\"b,2\\nc,3" in message
    assert "reading.quote=none" in message


def test_an_unclosed_quote_in_the_header_is_named(csv_path: Path) -> None:
    """The header is parsed as strictly as the rows."""
    message = refusal(csv_path, 'id,"prompt\n1,a\n')
    assert "header (line 1): a quote is opened and not closed: '\"prompt\\n1,a" in message


def test_cells_of_megabytes_are_read(csv_path: Path) -> None:
    """A carried cell may be large; a prompt only up to its limit."""
    table = opened(csv_path, f'prompt,svg\na,"{"x" * 2**21}"\n')
    assert [len(cell) for cell in column(table, "svg")] == [2**21]


def test_chunks_of_wide_cells_end_early(csv_path: Path) -> None:
    """Memory is bounded by bytes, not by rows alone."""
    wide = "x" * 2**17
    table = opened(csv_path, "prompt,svg\n" + f"a,{wide}\n" * 600)
    assert [rows.settings.num_rows for rows in table.chunks()] == [256, 256, 88]


@pytest.mark.parametrize(
    ("row", "has"), [("1,a,b,c", "4 fields"), ("1", "1 field"), ('"1,a', "2 fields")]
)
def test_a_ragged_row_is_refused(csv_path: Path, row: str, has: str) -> None:
    """Columns are never shifted."""
    good = "".join(f"{i},a,b\n" for i in range(500))
    message = refusal(csv_path, f"id,prompt,x\n{good}\n{row}\n{good}", quote="none")
    assert f"row 500 (line 503) has {has} where the header has 3" in message
    assert f"it begins {row!r}" in message


def test_a_row_index_is_not_a_line_number(csv_path: Path) -> None:
    """Blank lines are no rows, those of blanks neither."""
    table = opened(csv_path, "\n\nid,prompt\n\n1,a\n   \n\r\n2,b\n\n")
    assert column(table, "row_key") == ["1", "2"]


def test_an_empty_cell_in_a_table_of_one_column_is_a_row(csv_path: Path) -> None:
    """Only a line without anything is blank; a quoted nothing is a missing prompt."""
    assert "row 1: column 'prompt' is empty" in refusal(csv_path, 'prompt\na\n\n""\nb\n')


def test_quotes_are_literal_in_tsv(tmp_path: Path) -> None:
    """A cell of PartiPrompts begins with a quoted word and goes on after it."""
    text = 'prompt\tx\n"Fly" an airplane\t"\n'
    table = opened(tmp_path / "t.tsv", text)
    assert column(table) == ['"Fly" an airplane']
    assert column(table, "x") == ['"']
    table = opened(tmp_path / "t.tsv", 'prompt\tx\n"a\tb"\tc\n', quote='"')
    assert column(table) == ["a\tb"]


def test_quote_and_delimiter_are_the_users(csv_path: Path) -> None:
    """Any two characters; the tab may be spelt."""
    table = opened(csv_path, "prompt;x\n'a;b';'it''s'\n", delimiter=";", quote="'")
    assert column(table) == ["a;b"]
    assert column(table, "x") == ["it's"]
    assert column(opened(csv_path, 'prompt\n"a\n', quote="none")) == ['"a']
    for tab in ("\t", "\\t", "tab"):
        assert column(opened(csv_path, "prompt\tx\na,b\tc\n", delimiter=tab)) == ["a,b"]
    assert "two different single characters" in refusal(csv_path, "prompt\na\n", quote=",")


@pytest.mark.parametrize(("delimiter", "name"), [(";", '";"'), ("\t", "tab"), ("|", '"|"')])
def test_another_delimiter_is_named(csv_path: Path, delimiter: str, name: str) -> None:
    """A table of one wide column was meant to be split."""
    text = f"id{delimiter}prompt\n1{delimiter}a\n"
    message = refusal(csv_path, text)
    assert f"has one column, {f'id{delimiter}prompt'!r}, when split at ','" in message
    assert f"Set {shlex.quote(f'reading.delimiter={name}')}." in message
    spelt = name.strip('"')
    assert column(opened(csv_path, text, delimiter=spelt)) == ["a"]


def test_a_tsv_with_commas_is_named(tmp_path: Path) -> None:
    """The same the other way round."""
    assert "Set 'reading.delimiter=\",\"'." in refusal(tmp_path / "t.tsv", "id,prompt\n1,a\n")


def test_columns_of_one_name_are_refused(csv_path: Path, parquet_path: Path) -> None:
    """Which of two was meant cannot be known."""
    assert "more than one column 'x'" in refusal(csv_path, "prompt,x,x\na,1,2\n")
    arrays = [pa.array(["a"])] * 3
    pq.write_table(pa.Table.from_arrays(arrays, ["prompt", "x", "x"]), parquet_path)
    with pytest.raises(TableError, match="more than one column 'x'"):
        open_table(parquet_path, ReadingConfig())


def test_the_index_column_of_pandas_is_carried_with_a_note(csv_path: Path) -> None:
    """`to_csv` writes a column without a name; a comma at the end of each line makes one too."""
    table = opened(csv_path, ",prompt, \n0,a,\n1,b,\n")
    assert table.carried.names == ["unnamed_0", "unnamed_2"]
    assert column(table, "unnamed_0") == ["0", "1"]
    assert [note for note in table.notes if "'unnamed_0'" in note]
    assert "more than one column 'unnamed_0'" in refusal(csv_path, ",unnamed_0,prompt\n1,2,a\n")


def test_control_characters_are_kept_but_for_nul(csv_path: Path) -> None:
    """NUL is refused with its row: by Python 3.10's parser, else when the prompt is looked at."""
    content = "prompt\na\nb\x01\x1f\nc\x00\n"
    try:
        list(csv.reader(["\x00"]))
    except csv.Error:
        assert "row 2 (line 4)" in refusal(csv_path, content)
    else:
        assert "row 2: column 'prompt' has 'c\\x00', which holds a NUL" in refusal(
            csv_path, content
        )
        assert column(opened(csv_path, content[:-4])) == ["a", "b\x01\x1f"]


def test_json_lines_may_differ_in_their_keys(jsonl_path: Path) -> None:
    """A missing key is null, and the columns grow while the table is read."""
    lines = ['{"prompt": "a"}\n'] * 1500 + ['{"prompt": "b", "seed": 7, "tag": "x"}\n']
    table = opened(jsonl_path, "".join(lines))
    assert table.columns_used == {"prompt": "prompt"}
    assert column(table, "seed") == [None] * 1500 + [7]
    assert table.columns_used == {"prompt": "prompt", "seed": "seed"}
    assert table.carried.names == ["tag"]
    assert column(table, "tag") == [None] * 1500 + ["x"]


def test_json_values_are_carried_as_json_text(jsonl_path: Path) -> None:
    """Strings stay strings, null stays null, all else is JSON."""
    values = ["007", None, 7, 1.5, True, {"猫": [1, None]}]
    lines = (json.dumps({"prompt": "a", "x": value}) + "\n" for value in values)
    table = opened(jsonl_path, "".join(lines))
    assert column(table, "x") == ["007", None, "7", "1.5", "true", '{"猫": [1, null]}']


def test_a_later_key_may_not_take_over_a_setting(jsonl_path: Path) -> None:
    """`text` gave the prompt for thousands of rows; then `prompt` appears."""
    content = '{"text": "a"}\n' * 1500 + '{"prompt": "b", "text": "c"}\n'
    message = refusal(jsonl_path, content)
    assert "column 'text' gave the prompt, and later rows have 'prompt'" in message
    assert len(column(opened(jsonl_path, content, columns={"prompt": "text"}))) == 1501


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"prompt": "b', "row 1 is not JSON (Unterminated string"),
        ("b", "row 1 is not JSON (Expecting value): 'b'"),
        ('["b"]', "row 1 is not a JSON object"),
        ('{"prompt": "b", "prompt": "c"}', "the key 'prompt' comes twice"),
        ('{"prompt": "b", "x": {"y": 1, "y": 2}}', "the key 'y' comes twice"),
        ('{"prompt": "b", "x": 1e999}', "'1e999' is not a finite number"),
        ('{"prompt": "b", "x": %s}' % ("9" * 5000), "row 1 is not JSON"),
        ('{"prompt": "b", "x": %s' % ("[" * 100_000), "row 1 is not JSON"),
        ('{"prompt": ["b"]}', "column 'prompt' has '[\"b\"]', which is not one text or number"),
        ('{"prompt": "b", "": 1}', "row 1: the key '' cannot name a column"),
        ('{"prompt": "b", "\\ud800": 1}', "row 1: the key '\\ud800' cannot name a column"),
        ('{"prompt": "\\udc80"}', "row 1: column 'prompt' has '\\udc80', which holds half of a"),
        ('{"x": "b"}', "row 1: column 'prompt' is empty"),
    ],
)
def test_a_bad_json_line_is_refused(jsonl_path: Path, line: str, problem: str) -> None:
    """Row and beginning of the line are named, blank lines do not count."""
    assert problem in refusal(jsonl_path, f'{{"prompt": "a"}}\n\n{line}\n')


def test_json_of_any_depth_is_rows_or_refused(jsonl_path: Path) -> None:
    """Where Python's parser gives up depends on its version, and its writer gives up earlier."""
    n_rows = 0
    for depth in range(800, 1000, 3):
        line = f'{{"prompt": "a", "x": {"[" * depth}{"]" * depth}}}'
        jsonl_path.write_text(line, encoding="utf-8")
        with contextlib.suppress(TableError):
            assert column(open_table(jsonl_path, ReadingConfig()), "x") == [
                "[" * depth + "]" * depth
            ]
            n_rows += 1
    assert n_rows


def test_a_text_file_is_a_prompt_a_line(tmp_path: Path) -> None:
    """Blank lines are dropped; commas, quotes and blanks around mean nothing."""
    table = opened(tmp_path / "t.txt", ' a, "b \n\n \t\nc\u2028d\r\ne')
    assert column(table) == [' a, "b ', "c\u2028d", "e"]
    assert column(table, "row_key", first_row=1) == ["1", "2"]
    assert table.carried.names == []


def test_plain_parquet_types_are_carried_as_they_are(parquet_path: Path) -> None:
    """Large, viewed and dictionary text becomes text; nested values become JSON text."""
    columns: dict[str, Any] = {
        "prompt": pa.array(["a", "b"], pa.large_string()),
        "i": pa.array([1, None], pa.int16()),
        "day": pa.array([0, 1], pa.date32()),
        "raw": pa.array([b"\xff", None], pa.large_binary()),
        "view": pa.array(["v", None], pa.string_view()),
        "kind": pa.array(["x", "y"], pa.large_string()).dictionary_encode(),
        "boxes": pa.array([[1, 2], None]),
        "meta": pa.array([{"猫": 1}, {"猫": None}]),
        "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int8())),
        "__index_level_0__": pa.array([5, 6]),
    }
    pq.write_table(pa.table(columns), parquet_path)
    table = open_table(parquet_path, ReadingConfig())
    (rows,) = table.chunks()
    types = [str(field.type) for field in rows.carried.schema]
    text = "string"
    assert types == ["int16", "date32[day]", "binary", text, text, text, text, text, "int64"]
    assert rows.carried.schema.equals(table.carried)
    got = rows.carried.to_pydict()
    assert got["kind"] == ["x", "y"]
    assert got["boxes"] == ["[1, 2]", None]
    assert got["meta"] == ['{"猫": 1}', '{"猫": null}']
    assert got["map"] == ['[["k", 1]]', "[]"]


def test_rows_of_parquet_are_skipped_by_row_groups(parquet_path: Path) -> None:
    """Chunks start at any row, inside a group or at its end."""
    ids = [str(i) for i in range(1000)]
    pq.write_table(pa.table({"id": ids, "prompt": ids}), parquet_path, row_group_size=300)
    table = open_table(parquet_path, ReadingConfig())
    for first in (0, 1, 299, 300, 650, 999, 1000, 5000):
        chunks = list(table.chunks(first_row=first, chunk_rows=128))
        assert [key for rows in chunks for key in rows.settings["row_key"].to_pylist()] == ids[
            first:
        ]
        assert all(rows.settings["row_key"][0].as_py() == str(rows.first_index) for rows in chunks)


def test_a_parquet_table_without_rows_is_refused(parquet_path: Path) -> None:
    """As in any other format."""
    pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), parquet_path)
    with pytest.raises(TableError, match="has no rows"):
        list(open_table(parquet_path, ReadingConfig()).chunks())


def test_a_broken_parquet_file_is_refused(parquet_path: Path) -> None:
    """Empty, without a footer, and damaged inside."""
    assert "cannot be read as Parquet" in refusal(parquet_path, b"")
    pq.write_table(pa.table({"prompt": [f"cat {i}" for i in range(5000)]}), parquet_path)
    whole = parquet_path.read_bytes()
    assert "cannot be read as Parquet" in refusal(parquet_path, whole[:-9])
    damaged = whole[:200] + b"\xff" * 9000 + whole[9200:]
    assert "cannot be read as Parquet" in refusal(parquet_path, damaged)


def test_parquet_text_that_is_no_text_is_refused(parquet_path: Path) -> None:
    """Arrow does not check what it reads; we do, in binary prompts as in text."""
    raw = pa.array([b"a", b"caf\xe9"], pa.binary())
    text: Any = raw.view(pa.string())
    pq.write_table(pa.table({"prompt": ["a", "b"], "x": text}), parquet_path)
    with pytest.raises(TableError, match=r"row 1: column 'x' has 'caf\\\\xe9', which is not UTF-8"):
        list(open_table(parquet_path, ReadingConfig()).chunks())
    pq.write_table(pa.table({"prompt": raw}), parquet_path)
    with pytest.raises(TableError, match="column 'prompt' of type binary cannot be read as text"):
        list(open_table(parquet_path, ReadingConfig()).chunks())
    pq.write_table(pa.table({"prompt": pa.array([b"a", "猫".encode()])}), parquet_path)
    assert column(open_table(parquet_path, ReadingConfig())) == ["a", "猫"]


@pytest.mark.skipif(not PROMPTS.is_dir(), reason="the prompt sets are not here")
def test_parti_prompts_are_read_to_the_letter() -> None:
    """All 1,632 rows, each prompt that of its raw line."""
    path = PROMPTS / "PartiPrompts.tsv"
    table = open_table(path, ReadingConfig())
    lines = path.read_bytes().decode().split("\n")[1:]
    prompts = [line.rstrip("\r").split("\t")[0] for line in lines if line.strip()]
    assert len(prompts) == 1632
    assert column(table) == prompts
    assert table.carried.names == ["Category", "Challenge", "Note"]


@pytest.mark.skipif(not PROMPTS.is_dir(), reason="the prompt sets are not here")
def test_geneval_is_read_to_the_letter() -> None:
    """Prompts and tags as they stand, lists of objects as JSON text."""
    path = PROMPTS / "geneval.jsonl"
    table = open_table(path, ReadingConfig())
    rows = [json.loads(line) for line in path.read_bytes().decode().splitlines()]
    assert len(rows) == 553
    assert column(table) == [row["prompt"] for row in rows]
    assert [json.loads(text) for text in column(table, "include")] == [
        row["include"] for row in rows
    ]
