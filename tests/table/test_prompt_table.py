"""The table as typed rows: which column means what, how cells are cast, and who is to blame."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchgen.config.reading import ReadingConfig
from batchgen.config.schedulers import SCHEDULERS
from batchgen.errors import TableChanged, TableError
from batchgen.table import SETTINGS, Table, open_table


def table_of(path: Path, text: str, **reading: Any) -> Table:
    """Write a file, and open it as a table."""
    path.write_text(text, encoding="utf-8", newline="")
    return open_table(path, ReadingConfig(**reading))


def column(table: Table, name: str, **where: int) -> list[Any]:
    """Return all cells of a setting, or of a carried column."""
    cells: list[Any] = []
    for rows in table.chunks(**where):
        batch = rows.settings if name in SETTINGS else rows.carried
        cells += batch.column(name).to_pylist()
    return cells


def refusal(path: Path, text: str, **reading: Any) -> str:
    """Return the message that a file is refused with, when opened or when read through."""
    with pytest.raises(TableError) as caught:
        list(table_of(path, text, **reading).chunks())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


@pytest.fixture
def csv_path(tmp_path: Path) -> Path:
    """Return the path of a CSV file that is not there yet."""
    return tmp_path / "cats.csv"


def test_every_setting_is_a_column_of_its_type_even_where_the_table_has_none(
    csv_path: Path,
) -> None:
    """A table of prompts alone still gives all settings: the key is the index, the rest null."""
    (rows,) = table_of(csv_path, "prompt\na cat\na dog\n").chunks()
    assert rows.settings.schema == pa.schema(list(SETTINGS.items()))
    assert rows.settings.column("row_key").to_pylist() == ["0", "1"]
    assert rows.settings.column("prompt").to_pylist() == ["a cat", "a dog"]
    others = [name for name in SETTINGS if name not in ("row_key", "prompt")]
    assert all(rows.settings.column(name).null_count == 2 for name in others)
    assert rows.carried.schema.names == []


def test_all_settings_of_a_row_are_read(csv_path: Path) -> None:
    """A row that says everything is read as it stands."""
    header = "id,prompt,prompt_2,negative_prompt,seed,steps,guidance_scale,width,height,scheduler"
    header += ",guidance_rescale,cfg_cutoff,clip_skip,lora,unet_cache,unet_cache_branch"
    row = "x-1,a cat,a drawing,blurry,42,30,7.5,1024,768,ddim,0.7,0.5,1,pixel:0.8,3,2"
    (rows,) = table_of(csv_path, f"{header},images_per_prompt\n{row},4\n").chunks()
    (settings,) = rows.settings.to_pylist()
    names = [*header.replace("id,", "row_key,").split(","), "images_per_prompt"]
    assert [settings[name] for name in names] == [
        *("x-1", "a cat", "a drawing", "blurry", 42, 30, 7.5, 1024, 768, "ddim", 0.7, 0.5, 1),
        *("pixel:0.8", 3, 2, 4),
    ]
    assert set(names) == set(settings)


def test_ids_stay_the_text_they_are(csv_path: Path) -> None:
    """Leading zeros, dates, NA and blanks around an id are kept."""
    ids = ["007", "2024-01-02", "NA", "1e3", " x ", "True"]
    table = table_of(csv_path, "id,prompt\n" + "".join(f"{key},NA\n" for key in ids))
    assert column(table, "row_key") == ids
    assert column(table, "prompt") == ["NA"] * len(ids)


@pytest.mark.parametrize("text", ["42", " 42 ", "42.0", "042", "+42", "42."])
def test_whole_numbers_may_be_written_as_spreadsheets_write_them(csv_path: Path, text: str) -> None:
    """Blanks around, leading zeros and `.0` do not make a number another."""
    assert column(table_of(csv_path, f"prompt,seed\na,{text}\n"), "seed") == [42]


@pytest.mark.parametrize(
    "text", ["4.5", "1e400", "1e3", "abc", "true", "0x2A", "1_000", "٣", "nan", "9" * 5000]
)
def test_what_is_no_whole_number_is_refused_with_row_column_and_value(
    csv_path: Path, text: str
) -> None:
    """No cell is guessed at: hexadecimal, exponents and words are refused."""
    message = refusal(csv_path, f"prompt,seed\na,1\nb,{text}\n")
    assert message.startswith(f"{csv_path}, row 1: column 'seed' has {text[:60]!r}")
    assert "is not a whole number" in message
    assert "leave it empty" in message


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("seed", "-1", "from 0 to 9223372036854775807"),
        ("seed", str(2**63), "from 0 to 9223372036854775807"),
        ("steps", "0", "from 1 to 1000"),
        ("width", "1001", "is not a multiple of 8"),
        ("height", "32", "from 64 to 8192"),
        ("guidance_scale", "inf", "is not a number"),
        ("guidance_scale", "1e400", "is not finite: give a number"),
        ("guidance_scale", "7,5", "is not a number"),
        ("scheduler", "Eulerian", f"is not one of {', '.join(SCHEDULERS)}"),
        ("scheduler", "DPM++ SDE Karras", "is not offered: it draws noise that does not repeat"),
        ("clip_skip", "12", "from 0 to 11"),
        ("cfg_cutoff", "0", "from 0.01 to 1"),
        ("images_per_prompt", "0", "from 1 to 10000"),
    ],
)
def test_settings_out_of_range_are_refused(
    csv_path: Path, name: str, text: str, problem: str
) -> None:
    """The range of each setting is checked with the job's own rule."""
    message = refusal(csv_path, f'prompt,{name}\na,"{text}"\n')
    assert f"row 0: column {name!r} has {text!r}, which" in message
    assert problem in message


def test_largest_seed_is_exact(csv_path: Path) -> None:
    """Seeds never pass through a float."""
    table = table_of(csv_path, f"prompt,seed\na,{2**63 - 1}\nb,{2**53 + 1}.0\n")
    assert column(table, "seed") == [2**63 - 1, 2**53 + 1]


def test_empty_and_blank_cells_are_not_given(csv_path: Path) -> None:
    """An empty or blank cell is null, in numbers, texts and schedulers."""
    text = (
        "prompt,seed,negative_prompt,guidance_scale,scheduler\na,,,,\nb, ,  , , \nc,7,x,1e1, lcm\n"
    )
    table = table_of(csv_path, text)
    assert column(table, "seed") == [None, None, 7]
    assert column(table, "negative_prompt") == [None, None, "x"]
    assert column(table, "guidance_scale") == [None, None, 10.0]
    assert column(table, "scheduler") == [None, None, "lcm"]


def test_a_bad_cell_far_into_the_table_is_named_exactly(csv_path: Path) -> None:
    """The row is right in a later chunk too."""
    lines = [f"a cat,{seed}\n" for seed in range(40_000)]
    lines[33_333] = "a cat,abc\n"
    assert "row 33333: column 'seed' has 'abc'" in refusal(
        csv_path, "prompt,seed\n" + "".join(lines)
    )


@pytest.mark.parametrize("prompt", ["", "  ", "\u3000"])
def test_a_row_without_a_prompt_is_refused(csv_path: Path, prompt: str) -> None:
    """A blank prompt is no prompt."""
    message = refusal(csv_path, f"prompt,seed\na,1\n{prompt},2\n")
    assert "row 1: column 'prompt' is empty" in message


def test_a_row_without_an_id_is_refused(csv_path: Path) -> None:
    """A table with ids has one in each row."""
    assert "row 1: column 'id' is empty" in refusal(csv_path, "id,prompt\n1,a\n,b\n")


def test_prompts_are_kept_to_the_letter(csv_path: Path) -> None:
    """Blanks around, line breaks, control characters and emoji are part of a prompt."""
    prompt = "  一只猫\n\t\x01 🐈, ok "
    assert column(table_of(csv_path, f'prompt\n"{prompt}"\n'), "prompt") == [prompt]


def test_an_overlong_prompt_is_refused_with_its_length(csv_path: Path) -> None:
    """Only characters count, and the message hints at an open quote."""
    fits = table_of(csv_path, "prompt\n" + "猫" * 10 + "\n", max_prompt_chars=10)
    assert column(fits, "prompt") == ["猫" * 10]
    message = refusal(csv_path, "prompt\nok\n" + "猫" * 11 + "\n", max_prompt_chars=10)
    assert "row 1: column 'prompt' has 11 characters, beginning '猫" in message
    assert "quote that is not closed" in message
    assert "reading.max_prompt_chars" in message


def test_overlong_negative_prompts_are_refused_too(csv_path: Path) -> None:
    """Every text that goes to a text encoder is bounded."""
    message = refusal(csv_path, f"prompt,negative_prompt\na,{'b' * 99}\n", max_prompt_chars=10)
    assert "column 'negative_prompt' has 99 characters" in message


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("Prompt", "prompt"),
        ("TEXT", "prompt"),
        ("caption", "prompt"),
        ("Negative prompt", "negative_prompt"),
        ("neg-prompt", "negative_prompt"),
        ("num_inference_steps", "steps"),
        (" Seed ", "seed"),
        ("CFG scale", "guidance_scale"),
        ("num_images_per_prompt", "images_per_prompt"),
        ("ID", "row_key"),
    ],
)
def test_columns_are_known_by_their_aliases(csv_path: Path, name: str, setting: str) -> None:
    """Case, blanks and dashes do not matter, and the table's own name is reported."""
    header = name if setting == "prompt" else f"prompt,{name}"
    table = table_of(csv_path, f"{header}\n")
    assert table.columns_used[setting] == name
    assert table.carried.names == []


def test_the_exact_name_wins_and_its_aliases_are_carried(csv_path: Path) -> None:
    """A `text` next to `prompt` is just another column."""
    table = table_of(csv_path, "text,prompt,Prompt\na,b,c\n")
    assert table.columns_used == {"prompt": "prompt"}
    assert column(table, "prompt") == ["b"]
    assert column(table, "text") == ["a"]
    assert column(table, "Prompt") == ["c"]


def test_two_aliases_of_one_setting_need_a_choice(csv_path: Path) -> None:
    """Neither is taken silently, and the choice that the message names works."""
    message = refusal(csv_path, "text,caption\na,b\n")
    assert "'text', 'caption'" in message
    assert "reading.columns.prompt=text" in message
    table = table_of(csv_path, "text,caption\na,b\n", columns={"prompt": "caption"})
    assert column(table, "prompt") == ["b"]
    assert table.carried.names == ["text"]


def test_chosen_columns_win_over_all_names(csv_path: Path) -> None:
    """`reading.columns` maps by exact name; `id` and `row_key` both mean the row key."""
    text = "prompt,zh,uid\na,猫,x\n"
    table = table_of(csv_path, text, columns={"prompt": "zh", "id": "uid"})
    assert table.columns_used == {"row_key": "uid", "prompt": "zh"}
    assert column(table, "prompt") == ["猫"]
    assert table.carried.names == ["prompt"]


def test_a_column_can_be_kept_from_being_a_setting(csv_path: Path) -> None:
    """An empty choice carries a column whose name only looks like a setting."""
    text = "prompt,WIDTH\na,4031\n"
    assert 'reading.columns.width=""' in refusal(csv_path, text)
    table = table_of(csv_path, text, columns={"width": ""})
    assert column(table, "width") == [None]
    assert column(table, "WIDTH") == ["4031"]


def test_a_chosen_column_must_be_there(csv_path: Path) -> None:
    """The columns there are follow, the closest first."""
    message = refusal(csv_path, "prompt,caption_en\na,b\n", columns={"prompt": "caption"})
    assert "has no column 'caption'; it has: caption_en, prompt." in message


def test_a_chosen_setting_must_exist(csv_path: Path) -> None:
    """A misspelt setting in `reading.columns` is named, the closest first."""
    message = refusal(csv_path, "prompt\na\n", columns={"promt": "prompt"})
    assert "reading.columns.promt names no setting; settings are: prompt, " in message


def test_a_table_without_prompts_is_told_how_to_name_them(csv_path: Path) -> None:
    """The message lists the columns and a command that would do."""
    message = refusal(csv_path, "beschreibung,seed,my prompts\na,1,b\n")
    assert "has no column 'prompt'; it has: my prompts, " in message
    assert 'reading.columns.prompt="my prompts"' in message


def test_near_misses_are_noted(csv_path: Path) -> None:
    """A column that is nearly a setting is carried, with a note."""
    table = table_of(csv_path, "prompt,guidence_scale,style\na,7,b\n")
    (note,) = table.notes
    assert "'guidence_scale' is carried as it is" in note
    assert "reading.columns.guidance_scale=guidence_scale" in note
    assert table.carried.names == ["guidence_scale", "style"]


def test_chunks_start_anywhere_and_have_the_size_asked_for(csv_path: Path) -> None:
    """Row keys and indexes count from the start of the table, whatever was skipped."""
    table = table_of(csv_path, "prompt\n" + "".join(f"p{i}\n\n" for i in range(1000)))
    chunks = list(table.chunks(first_row=300, chunk_rows=400))
    assert [rows.first_index for rows in chunks] == [300, 700]
    assert [rows.settings.num_rows for rows in chunks] == [400, 300]
    assert column(table, "prompt", first_row=998) == ["p998", "p999"]
    assert column(table, "row_key", first_row=998) == ["998", "999"]
    assert list(table.chunks(first_row=1000)) == []


def test_a_table_can_be_read_again(csv_path: Path) -> None:
    """Two passes, even side by side, give the same rows."""
    table = table_of(csv_path, "prompt\na\nb\n")
    pairs = zip(table.chunks(chunk_rows=1), table.chunks(chunk_rows=1), strict=True)
    assert all(one.settings.equals(other.settings) for one, other in pairs)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.txt"])
def test_a_table_without_rows_is_refused(tmp_path: Path, name: str) -> None:
    """A header is not enough, and an empty file even less."""
    if name.endswith("sv"):
        assert "has no rows" in refusal(tmp_path / name, "prompt\n\n")
        assert "is empty" in refusal(tmp_path / name, "")
    else:
        assert "has no rows" in refusal(tmp_path / name, "\n\n")


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    """A missing file, a folder, a pipe and an unknown suffix each have their sentence."""
    (tmp_path / "x.csv").mkdir()
    (tmp_path / "x.xlsx").touch()
    os.mkfifo(tmp_path / "y.csv")
    for name, problem in {
        "none.csv": "is not there",
        "x.csv": "is a folder without a table",
        "y.csv": "not a regular file",
        "x.xlsx": ".csv, .tsv, .jsonl",
    }.items():
        with pytest.raises(TableError, match=problem) as caught:
            open_table(tmp_path / name, ReadingConfig())
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(csv_path: Path) -> None:
    """Permissions are a matter of the table."""
    csv_path.touch(mode=0)
    with pytest.raises(TableError, match="Permission denied"):
        open_table(csv_path, ReadingConfig())


def test_a_table_edited_while_it_is_read_stops_the_job(csv_path: Path) -> None:
    """Rows of an edited file never mix with those that were read before."""
    chunks = table_of(csv_path, "prompt\n" + "a cat\n" * 100).chunks(chunk_rows=10)
    next(chunks)
    with csv_path.open("a", encoding="utf-8") as file:
        file.write("a dog\n")
    with pytest.raises(TableChanged, match=r"cats\.csv was edited while it was read"):
        next(chunks)


def test_a_table_replaced_by_one_of_equal_size_and_time_is_seen(csv_path: Path) -> None:
    """The inode tells, where size and time stamp do not."""
    table = table_of(csv_path, "prompt\na cat\n")
    other = csv_path.with_name("other")
    other.write_text("prompt\na dog\n", encoding="utf-8")
    os.utime(other, ns=(table.stamp.mtime_ns, table.stamp.mtime_ns))
    other.replace(csv_path)
    with pytest.raises(TableChanged):
        next(table.chunks())


def test_a_table_that_is_gone_stops_the_job(csv_path: Path) -> None:
    """A deleted table is a change, too."""
    table = table_of(csv_path, "prompt\na cat\n")
    csv_path.unlink()
    with pytest.raises(TableChanged, match="cannot be found any more"):
        next(table.chunks())


def test_a_torn_line_of_a_growing_file_is_called_a_change(tmp_path: Path) -> None:
    """What looks broken because it is being written is not blamed on its row."""
    table = table_of(tmp_path / "t.jsonl", '{"prompt": "a"}\n')
    chunks = table.chunks(chunk_rows=1)
    table.path.write_text('{"prompt": "a"}\n{"pro', encoding="utf-8")
    with pytest.raises(TableChanged):
        list(chunks)


def test_numbers_of_parquet_columns_are_cast_by_the_same_rules(tmp_path: Path) -> None:
    """Integers, the floats of pandas and text give the same seeds."""
    path = tmp_path / "t.parquet"
    columns: dict[str, Any] = {
        "prompt": ["a", "b", "c"],
        "id": [7, 8, 9],
        "seed": pa.array([1.0, None, 4294967295.0]),
        "steps": pa.array([20, None, 30], pa.uint8()),
        "width": ["512", "", " 768.0"],
        "cfg": pa.array([7, 1, None], pa.int32()),
        "scheduler": pa.array(["lcm", "ddim", "lcm"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), path)
    (rows,) = open_table(path, ReadingConfig()).chunks()
    got = rows.settings.to_pydict()
    assert got["row_key"] == ["7", "8", "9"]
    assert got["seed"] == [1, None, 4294967295]
    assert got["steps"] == [20, None, 30]
    assert got["width"] == [512, None, 768]
    assert got["guidance_scale"] == [7.0, 1.0, None]
    assert got["scheduler"] == ["lcm", "ddim", "lcm"]


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        (pa.array([1, 4.5]), "'4.5'"),
        (pa.array([1, float("nan")]), "'nan'"),
        (pa.array([1, 1e300]), "'1e+300'"),
        (pa.array([1, 2**64 - 1], pa.uint64()), "'18446744073709551615'"),
        (pa.array([None, True]), "'true'"),
        (pa.array([None, [1]]), "'[1]'"),
    ],
)
def test_bad_numbers_of_parquet_columns_are_named(tmp_path: Path, cells: Any, value: str) -> None:
    """A typed column is no licence: fractions, NaN, booleans and lists are refused."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b"], "seed": cells}), path)
    with pytest.raises(TableError) as caught:
        list(open_table(path, ReadingConfig()).chunks())
    assert f"row 1: column 'seed' has {value}, which is not " in str(caught.value)


def test_json_numbers_are_cast_and_booleans_refused(tmp_path: Path) -> None:
    """JSON's own numbers go the same way as text."""
    path = tmp_path / "t.jsonl"
    rows = [{"id": 1, "prompt": "a", "seed": 7, "cfg": 5}, {"id": "02", "prompt": 42, "seed": 8.0}]
    table = table_of(path, "".join(json.dumps(row) + "\n" for row in rows))
    assert column(table, "row_key") == ["1", "02"]
    assert column(table, "prompt") == ["a", "42"]
    assert column(table, "seed") == [7, 8]
    assert column(table, "guidance_scale") == [5.0, None]
    assert "has 'true', which is not a whole" in refusal(path, '{"prompt": "a", "seed": true}')
    assert "row 0: column 'id' is empty" in refusal(path, '{"prompt": "a", "id": null}')
