"""What `plan` says, and that it starts nothing."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeConfig, WriteTable

import batchgen
from batchgen.config.models import FakeModel
from batchgen.errors import ConfigError, FolderError, JobChanged, StorageError, TableError
from batchgen.model import weights
from batchgen.pipelines.base import Generation
from batchgen.pipelines.fake import FakePipeline
from batchgen.plan.requests import ImageRequest
from batchgen.report.forecast import forecast, long_prompts
from batchgen.table import open_table

TABLE = "id,caption,seed,mood\na,a cat,1,calm\nb,a dog,2,wild\nc,a bird,3,shy\n"


def lines_of(said: list[str], word: str) -> list[str]:
    """Return the lines of a plan that begin with a word, without it."""
    return [line.removeprefix(word).strip() for line in said if line.startswith(word)]


def test_a_plan_names_the_columns_it_uses_and_those_it_carries(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """An alias is shown with the setting it means."""
    said = list(forecast(fake_config(write_table(TABLE))))
    (used,) = lines_of(said, "used")
    assert used == "row_key (column 'id'), prompt (column 'caption'), seed"
    assert lines_of(said, "carried") == ["mood"]


def test_a_plan_shows_what_images_are_made_with(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """The job's settings, and how many rows have it their own way."""
    config = fake_config(
        write_table("prompt,steps,width,seed\na,5,,1\nb,,128,\nc,6,,\n"),
        sampling={"steps": 30, "guidance_scale": 4.5, "scheduler": "ddim"},
        limit=2,
    )
    said = list(forecast(config, swept=["sampling.steps", "images.quality"], preset="fast"))
    assert lines_of(said, "settings") == ["30 steps, guidance 4.5, ddim, 64x64, of sampling=fast"]
    assert lines_of(said, "own") == ["rows of 2 with settings of their own: steps 1, width 1"]
    (note,) = [line for line in lines_of(said, "note") if "of the grid" in line]
    assert note.startswith("sampling.steps of the grid is not that of 1 of 2 rows")
    assert not lines_of(list(forecast(fake_config(write_table("prompt\na\n")))), "own")


def test_a_table_without_further_columns_is_said_to_have_none(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """No empty line."""
    said = list(forecast(fake_config(write_table("prompt\na\n"))))
    assert lines_of(said, "carried") == ["no further columns"]


def test_a_column_that_is_nearly_a_setting_is_warned_about(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """With the override that would use it."""
    said = list(forecast(fake_config(write_table("prompt,guidence_scale\na,5\n"))))
    note, _ = lines_of(said, "note")
    assert "reading.columns.guidance_scale=guidence_scale" in note


def test_a_plan_counts_images_before_the_first_start(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """Rows, images and the size of a batch; the time is unknown and how to learn it is said."""
    config = fake_config(write_table("prompt\na\nb\nc\n"), images_per_prompt=4, batch_size=2)
    said = list(forecast(config))
    assert lines_of(said, "table")[0].endswith("t.csv: 3 rows")
    assert lines_of(said, "images") == [
        "12: 0 done, 0 failed, 12 to make in batches of up to 2",
    ]
    assert lines_of(said, "time")[0].startswith("unknown before the first images")


def test_a_plan_counts_what_is_done_and_goes_by_its_latency(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """After `limit=1` the time is the measured one; with the limit gone the rest is to make."""
    model = FakeModel(latency_s=0.02)
    config = fake_config(write_table(TABLE), model=model, limit=1)
    batchgen.run(config)
    config.limit = None
    said = list(forecast(config))
    assert lines_of(said, "images")[0].startswith("3: 1 done, 0 failed, 2 to make")
    latency_s = float(lines_of(said, "time")[0].split(" at ")[1].split(" s ")[0])
    assert 0.02 <= latency_s < 0.2


def test_a_plan_counts_failed_images_and_rows_that_were_taken(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """Failed for good is neither done nor left."""
    model, retry = FakeModel(fail_rows=[2]), {"max_attempts": 1}
    config = fake_config(write_table(TABLE), model=model, retry=retry)
    batchgen.run(config)
    write_table(TABLE.replace("a,a cat,1,calm\n", ""))
    said = list(forecast(config))
    assert lines_of(said, "images")[0].startswith("2: 1 done, 1 failed, 0 to make")
    (note,) = lines_of(said, "note")
    assert note.startswith("no row in the table any more for 1 finished image")


def test_a_plan_makes_no_folder_and_changes_none(
    write_table: WriteTable, fake_config: MakeConfig, tmp_path: Path
) -> None:
    """It is a dry run."""
    config = fake_config(write_table(TABLE), limit=2)
    list(forecast(config))
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
    batchgen.run(config)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    config.limit = None
    list(forecast(config))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_plan_refuses_what_a_run_would_refuse(
    write_table: WriteTable, fake_config: MakeConfig, tmp_path: Path
) -> None:
    """Settings, the last row of the table, and the folder."""
    path = write_table("prompt,steps\na,10\nb,0\n")
    with pytest.raises(ConfigError, match="batch_size=0"):
        list(forecast(fake_config(path, batch_size=0)))
    with pytest.raises(TableError, match="row 1"):
        list(forecast(fake_config(path)))
    (tmp_path / "outputs" / "t").mkdir(parents=True)
    (tmp_path / "outputs" / "t" / "novel.doc").touch()
    with pytest.raises(FolderError, match=r"novel\.doc"):
        list(forecast(fake_config(write_table(TABLE))))


def test_a_plan_refuses_a_disk_that_is_too_small(
    write_table: WriteTable, fake_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of a run."""
    config = fake_config(write_table(TABLE))
    free = shutil.disk_usage("/")._replace(free=5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    said = []
    for refused in (lambda: list(forecast(config)), lambda: batchgen.run(config)):
        with pytest.raises(StorageError, match=r"4\.8 MiB are free") as caught:
            refused()
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_plan_refuses_changed_settings_with_the_difference(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """As the run would: how many, which key, which rows."""
    path = write_table(TABLE)
    batchgen.run(fake_config(path))
    with pytest.raises(JobChanged) as caught:
        list(forecast(fake_config(path, sampling={"steps": 30})))
    message = str(caught.value)
    assert "holds 3 finished images made with other settings" in message
    assert "sampling.steps: 20 -> 30" in message
    assert "row 0 (key 'a'), image 0: steps: 20 -> 30" in message


def words(texts: Sequence[str]) -> list[int]:
    """Count words in the place of tokens."""
    return [len(text.split()) for text in texts]


def test_prompts_over_75_tokens_are_counted_by_row(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """Of any text that is used; a negative prompt without guidance is not."""
    long, short = "word " * 76, "word " * 75
    rows = [("a", long, "", ""), ("b", short, "", ""), ("c", "x", long, "7"), ("d", "x", long, "1")]
    text = "id,prompt,negative_prompt,guidance_scale\n" + "\n".join(map(",".join, rows))
    config = fake_config(write_table(text))
    assert long_prompts(open_table(config.table, config.reading), config, words) == (2, ["a", "c"])


def test_the_first_few_long_prompts_are_named(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """And only the rows of `limit` count."""
    config = fake_config(write_table("prompt\n" + f"{'word ' * 80}\n" * 9), limit=7)
    found = long_prompts(open_table(config.table, config.reading), config, words)
    assert found == (7, ["0", "1", "2", "3", "4"])


def test_a_short_text_is_not_counted(write_table: WriteTable, fake_config: MakeConfig) -> None:
    """A token has a third of a byte at least, before normalisation."""
    config = fake_config(write_table("prompt\n" + "x" * 25 + "\n"))

    def refuse(texts: Sequence[str]) -> list[int]:
        assert not texts
        return []

    assert long_prompts(open_table(config.table, config.reading), config, refuse) == (0, [])


def test_a_plan_says_which_prompts_are_cut(
    write_table: WriteTable,
    fake_config: MakeConfig,
    clip_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the vocabulary of the model, and with the setting that keeps them whole."""
    monkeypatch.setattr(weights, "tokenizer_folder", lambda _: clip_folder)
    table = write_table(f"id,prompt\na,a cat\nb,{'red cat ' * 40}\n")
    (said,) = lines_of(list(forecast(fake_config(table))), "prompts")
    assert said == (
        "1 with a text of more than 75 tokens, which is cut there; "
        "sampling.long_prompt=chunk encodes it whole: rows b"
    )
    chunked = fake_config(table, sampling={"long_prompt": "chunk"})
    (said,) = lines_of(list(forecast(chunked)), "prompts")
    assert "which is encoded in chunks: rows b" in said


def test_the_time_of_a_warm_up_is_not_counted_on(
    write_table: WriteTable, fake_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch of a start takes what compiling takes; the hours to come do not."""
    generate = FakePipeline.generate

    def compiled(self: FakePipeline, images: Sequence[ImageRequest], *rest: Any) -> Generation:
        made = generate(self, images, *rest)
        time.sleep(0.5 if made.warm_up else 0.0)
        return made

    monkeypatch.setattr(FakePipeline, "generate", compiled)
    config = fake_config(write_table("prompt\n" + "a\n" * 6), limit=3)
    batchgen.run(config)
    config.limit = None
    latency_s = float(lines_of(list(forecast(config)), "time")[0].split(" at ")[1].split(" s ")[0])
    assert latency_s < 0.1
