"""Tables from Python: what passes for one, and that their jobs are jobs like any other."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import batchgen
from batchgen.cli.main import main
from batchgen.errors import ConfigError, JobChanged, StorageError, TableError
from batchgen.ledger.verification import verify
from batchgen.storage.folder import JobFolder

ROWS: list[dict[str, Any]] = [
    {"id": "a", "prompt": "a cat", "steps": 5, "score": 0.5},
    {"id": "b", "prompt": "a dog", "steps": None, "score": None},
]
SMALL = ["model=fake", "sampling.width=64", "sampling.height=64"]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(table: Any, **settings: Any) -> batchgen.JobResult:
    """Run a small job of a table in memory."""
    base = {"name": "night", "model": "fake", "sampling": {"width": 64, "height": 64}}
    return batchgen.run(table=table, **{**base, **settings})


def as_dataset(rows: list[dict[str, Any]]) -> Any:
    """Return rows as a `datasets.Dataset`, chosen and in another order than it was made with."""
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_list([*reversed(rows), {**rows[0], "id": "left out"}])
    return whole.select([1, 0])


FORMS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "list of dicts": list,
    "DataFrame": lambda rows: pd.DataFrame(rows, index=[7, 9]),
    "Arrow table": pa.Table.from_pylist,
    "record batch": pa.RecordBatch.from_pylist,
    "Dataset": as_dataset,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_images_of_the_same_file(form: str, workplace: Path) -> None:
    """NaN is missing, whole floats pass for steps, and an index is no column."""
    pq.write_table(pa.Table.from_pylist(ROWS), workplace / "t.parquet")
    expected = run("t.parquet", name="file")
    given = FORMS[form](ROWS)
    result = run(given)
    assert (result.n_made, result.exit_code) == (2, 0)
    columns = ["row_key", "text", "steps", "seed", "score", "fingerprint", "file_sha256"]
    frames = [batchgen.read_metadata(one.folder)[columns] for one in (expected, result)]
    pd.testing.assert_frame_equal(frames[0], frames[1])
    assert frames[1]["steps"].tolist() == [5, 20]


def test_the_same_table_again_is_finished_at_once_and_another_is_an_edit() -> None:
    """It is compared by content."""
    assert run(ROWS).n_made == 2
    kept = JobFolder(Path("outputs/night")).kept_table
    before = kept.stat()
    again = run(list(ROWS))
    assert (again.n_made, again.message) == (0, "2 images, all done before")
    assert kept.stat().st_ino == before.st_ino
    assert run(pd.DataFrame(ROWS)).n_made == 0
    more = [*ROWS, {"id": "c", "prompt": "a bird"}]
    assert run(more).n_made == 1
    edited = [{**ROWS[0], "prompt": "a cow"}, *more[1:]]
    content = kept.read_bytes()
    with pytest.raises(JobChanged, match="text: 'a cat' -> 'a cow'"):
        run(edited)
    assert kept.read_bytes() == content
    assert run(edited, on_change="redo").n_made == 1
    assert verify(JobFolder(Path("outputs/night"))).is_clean


def test_the_command_line_goes_on_with_the_kept_table() -> None:
    """By its path, after a stop."""
    result = run(ROWS, limit=1)
    table = f"table={result.folder}/.batchgen/table.parquet"
    assert main(["run", table, "name=night", *SMALL]) == 0
    assert len(batchgen.read_metadata(result.folder)) == 2
    assert run(ROWS).message == "2 images, all done before"
    for command in ("plan", "run"):
        assert main([command, table, "name=night", *SMALL]) == 0
    folder = str(result.folder)
    for words in (["status"], ["verify", folder], ["report", folder], ["repro", folder, "--row=b"]):
        assert main(words) == 0, words


def test_a_table_in_memory_needs_a_name() -> None:
    """There is no file to take it from."""
    with pytest.raises(ConfigError, match="name is missing"):
        batchgen.run(table=ROWS, model="fake")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ([{"prompt": "a", "seed": -1}], "table, row 0: column 'seed' has '-1'"),
        ([{"prompt": "a"}, {"prompt": None}], "table, row 1: column 'prompt' is empty"),
        ([{"prompt": "a", "steps": 5.5}], "table, row 0: column 'steps' has '5.5'"),
        ([{"caption_en": "a"}], "table has no column 'prompt'"),
        ([{"prompt": "a", "x": 1}, {"prompt": "b", "x": "y"}], "row 1: column 'x' has 'y'"),
        ([], "it has no rows"),
        ([{}, {}], "table has no columns"),
        (pd.DataFrame(), "table has no columns"),
        ([{"prompt": "a"}, {"prompt": "\ud800"}], "table, row 1: column 'prompt' has '\\ud800'"),
        (pd.DataFrame({"prompt": ["a", 5]}), "table, row 1: column 'prompt' has 5, which does not"),
        (
            pa.table({"prompt": ["a"], "x": pa.array([[1]], pa.list_view(pa.int8()))}),
            "column 'x' of",
        ),
        (["a cat"], "row 0: 'a cat' is no dict"),
        (pd.DataFrame({"prompt": []}), "table has no rows"),
        (pd.DataFrame([["a", "b"]], columns=["prompt", "prompt"]), "more than one column 'prompt'"),
        (pd.DataFrame([["a", "b"]], columns=["prompt", 3]), "column 3 has no text for a name"),
        (5, "table=int(...) is none of: a path, a DataFrame"),
    ],
)
def test_what_is_no_table_is_refused_by_what_the_user_knows(table: Any, problem: str) -> None:
    """Never by the name of a temporary file; nothing is left behind."""
    with pytest.raises(TableError) as caught:
        run(table)
    assert problem in str(caught.value)
    assert "parquet" not in str(caught.value)
    assert not Path("outputs").exists()


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_what_pandas_calls_missing_is_missing_in_a_list_of_dicts(missing: Any) -> None:
    """In text, numbers and times."""
    values = {"steps": 5, "scheduler": "ddim", "topic": "sea", "day": pd.Timestamp("2026-01-01")}
    given = [{"prompt": "a cat", **values}, {"prompt": "a dog", **dict.fromkeys(values, missing)}]
    images = batchgen.read_metadata(run(given).folder)
    assert images["steps"].tolist() == [5, 20]
    assert images["scheduler"].tolist() == ["ddim", "euler"]
    assert images[["topic", "day"]].isna().to_numpy().tolist() == [[False] * 2, [True] * 2]


def test_types_of_a_frame_are_kept(workplace: Path) -> None:
    """As those of its Parquet file: categories are text, and a path is its text."""
    frame = pd.DataFrame({
        "prompt": pd.Categorical(["a", "b"]),
        "steps": pd.Categorical([5.0, None]),
        "kind": pd.Categorical(["x", None]),
        "day": pd.to_datetime(pd.Series(["2026-01-01", None])).dt.tz_localize("Asia/Shanghai"),
        "count": pd.array([1, None], dtype="Int64"),
        "score": np.array([7.1, np.nan], dtype=np.float32),
        "tags": [["u"], None],
    })  # fmt: skip
    frame.to_parquet(workplace / "t.parquet")
    folders = [run("t.parquet", name="file").folder, run(frame).folder]
    read = [pq.read_table(folder / "metadata.parquet") for folder in folders]
    columns = ["text", "steps", "kind", "day", "count", "score", "tags"]
    assert read[1].select(columns).equals(read[0].select(columns))
    types = [str(read[1].schema.field(name).type) for name in columns[2:]]
    assert types == ["string", "timestamp[ns, tz=Asia/Shanghai]", "int64", "float", "string"]
    paths = batchgen.read_metadata(run([{"prompt": "a", "from": Path("x/y")}], name="p").folder)
    assert paths["from"].tolist() == ["x/y"]


def test_the_same_content_is_kept_as_the_same_bytes() -> None:
    """However it is cut into chunks, and whatever else its schema says."""
    whole = pa.Table.from_pylist(ROWS)
    cut = pa.concat_tables([whole.slice(0, 1), whole.slice(1)]).replace_schema_metadata({"a": "b"})
    kept = [
        JobFolder(run(one, name=f"n{k}").folder).kept_table for k, one in enumerate([whole, cut])
    ]
    assert kept[0].read_bytes() == kept[1].read_bytes()


def test_a_stream_of_another_library_is_a_table() -> None:
    """What gives an Arrow stream is read by it."""
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.sql("select 'a cat' as prompt, 5 as steps union all select 'a dog', null")
    assert run(relation).n_made == 2
    assert run(pa.Table.from_pylist(ROWS).to_reader(), name="reader").n_made == 2


def test_a_table_in_memory_is_another_than_that_of_a_file(workplace: Path) -> None:
    """It is told by what the user knows, and nothing of it is kept."""
    (workplace / "t.csv").write_text("prompt\na cow\n")
    folder = run("t.csv").folder
    with pytest.raises(
        JobChanged, match=r"of the table .*t\.csv, and the one in memory is another"
    ):
        run(ROWS)
    assert not JobFolder(folder).kept_table.exists()


def test_a_config_takes_no_table_in_memory() -> None:
    """A config is what job.json can hold."""
    config = batchgen.JobConfig(table=pd.DataFrame(ROWS), name="night")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"table=DataFrame\(\.\.\.\) in a JobConfig is no path"):
        batchgen.run(config)


def test_no_room_for_temporary_files_is_told(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is written before the folder is touched."""
    monkeypatch.setattr(tempfile, "tempdir", str(workplace / "gone"))
    with pytest.raises(StorageError, match="gone: No such file or directory"):
        run(ROWS)
    assert not Path("outputs").exists()


def test_merged_shards_keep_the_table(workplace: Path) -> None:
    """It moves to the whole job's folder, so that the job goes on there."""
    for index in range(2):
        run(ROWS, shard=f"{index}/2")
    assert main(["merge", "outputs/night"]) == 0
    folder = JobFolder(workplace / "outputs" / "night")
    table = (folder.identity() or {})["table"]
    assert table["resolved"] == str(folder.kept_table)
    assert main(["run", f"table={table['path']}", "name=night", *SMALL]) == 0
    assert run(ROWS).message == "2 images, all done before"
    assert run([*ROWS, {"prompt": "a cow", "id": "c"}]).n_made == 1


def test_splits_and_streams_of_datasets_are_told() -> None:
    """With what to give instead."""
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_list(ROWS)
    with pytest.raises(TableError, match=r"Choose one, as in table=it\['train'\]"):
        run(datasets.DatasetDict({"train": dataset}))
    with pytest.raises(TableError, match="without streaming=True"):
        run(dataset.to_iterable_dataset())


def test_values_of_numpy_and_paths_are_those_of_python(workplace: Path) -> None:
    """The same job to the bit, in keywords and in configs."""
    (workplace / "t.csv").write_text("id,prompt\na,a cat\n")
    plain = run(
        "t.csv",
        name="plain",
        seeds=[0, 1, 2],
        sampling={"width": 64, "height": 64, "steps": 5, "guidance_scale": 7.1},
    )
    sampling = {
        "width": np.int32(64),
        "height": np.uint8(64),
        "steps": np.int64(5),
        "guidance_scale": np.float32(7.1),
    }
    for name, seeds in (("array", np.arange(3)), ("list", [np.int64(n) for n in range(3)])):
        keywords = run(Path("t.csv"), name=name, seeds=seeds, sampling=sampling)
        config = batchgen.JobConfig(
            table=Path("t.csv"),  # type: ignore[arg-type]
            name=f"{name}-config",
            model=batchgen.FakeModel(),
            output_root=Path("outputs"),  # type: ignore[arg-type]
            seeds=seeds,
            sampling=batchgen.SamplingConfig(**sampling),  # type: ignore[arg-type]
        )
        for result in (keywords, batchgen.run(config)):
            contents = [
                json.loads((one.folder / "job.json").read_text()) for one in (plain, result)
            ]
            assert contents[0]["identity"] == contents[1]["identity"]
            configs = [{**one["config"], "name": ""} for one in contents]
            assert configs[0] == configs[1]
            prints = [
                batchgen.read_metadata(one.folder)["fingerprint"].tolist()
                for one in (plain, result)
            ]
            assert prints[0] == prints[1]
