"""Jobs whose table is several files."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import MakeConfig

from batchgen.errors import JobChanged
from batchgen.executors.local import LocalExecutor
from batchgen.runner.identity import Job
from batchgen.runner.result import JobResult
from batchgen.runner.start import run_job
from batchgen.runner.stopping import Stop


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Return a folder with a table in two files."""
    folder = tmp_path / "captions"
    folder.mkdir()
    for n in (2, 10):
        rows = "".join(f"{n}-{i},prompt {n} {i}\n" for i in range(2))
        (folder / f"part-{n}.csv").write_text(f"id,prompt\n{rows}")
    return folder


def run(fake_config: MakeConfig, table: Path | str, **settings: object) -> JobResult:
    """Run the job of a table."""
    return run_job(fake_config(table, **settings), LocalExecutor(), Stop(None))


def test_a_folder_is_a_table_and_new_files_are_new_rows(
    fake_config: MakeConfig, shards: Path
) -> None:
    """A finished job of it is known as finished until a file comes or changes."""
    first = run(fake_config, shards)
    assert (first.n_made, first.folder.name) == (4, "captions")
    assert Job.identify(fake_config(shards)).n_finished() == (4, [])
    (shards / "part-30.csv").write_text("id,prompt,topic\nnew,prompt new,x\n")
    again = run(fake_config, shards)
    assert (again.n_made, again.n_done) == (1, 5)
    rows = pq.read_table(again.folder / "metadata.parquet").to_pylist()
    assert [row["row_key"] for row in rows] == ["2-0", "2-1", "10-0", "10-1", "new"]
    assert [row["topic"] for row in rows] == [None, None, None, None, "x"]


def test_the_same_files_elsewhere_are_the_same_table(
    fake_config: MakeConfig, shards: Path, tmp_path: Path
) -> None:
    """As one file is; with another content they are refused."""
    run(fake_config, shards)
    moved = shards.rename(tmp_path / "moved")
    assert run(fake_config, moved / "part-*.csv", name="captions").n_done == 4
    (moved / "part-2.csv").write_text("id,prompt\nother,a\n")
    (tmp_path / "x").mkdir()
    third = moved.rename(tmp_path / "x" / "captions")
    with pytest.raises(JobChanged, match="neither the path nor the content"):
        run(fake_config, third)


def test_a_choice_of_columns_reaches_a_finished_job(
    fake_config: MakeConfig, tmp_path: Path
) -> None:
    """No image is made anew for it."""
    table = tmp_path / "t.csv"
    table.write_text("id,prompt,topic,split\na,a cat,x,train\n")
    folder = run(fake_config, table).folder

    def own_columns(**settings: object) -> list[str]:
        assert run(fake_config, table, **settings).n_made == 0
        names = pq.read_schema(folder / "metadata.parquet").names
        return [name for name in names if name in ("topic", "split")]

    assert own_columns() == ["topic", "split"]
    assert own_columns(reading={"drop": ["topic"]}) == ["split"]
    assert own_columns(reading={"carry": ["topic"]}) == ["topic"]
    assert own_columns() == ["topic", "split"]
