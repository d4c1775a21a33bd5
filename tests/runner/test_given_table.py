"""Tables from Python: what passes for one, and that their jobs are jobs like any other."""

from __future__ import annotations

import json
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
from batchgen.errors import ConfigError, JobChanged, TableError
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
        ([{"prompt": "a", "x": 1}, {"prompt": "b", "x": "y"}], "column 'x' holds values of sever"),
        ([], "it has no rows"),
        (["a cat"], "row 0: 'a cat' is no dict"),
        (pd.DataFrame({"prompt": []}), "table has no rows"),
        (pd.DataFrame([["a", "b"]], columns=["prompt", "prompt"]), "Duplicate column names"),
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
            prints = [
                batchgen.read_metadata(one.folder)["fingerprint"].tolist()
                for one in (plain, result)
            ]
            assert prints[0] == prints[1]
