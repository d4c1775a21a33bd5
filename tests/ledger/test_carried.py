"""The table's own columns in the metadata follow the table, and no image is made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import RunJob, WriteTable

import batchgen
from batchgen.config.reading import ReadingConfig
from batchgen.ledger.carried import TableNow
from batchgen.ledger.verification import verify
from batchgen.storage.folder import JobFolder
from batchgen.table import open_table

BEFORE = "id,prompt,topic\na,x,sea\nb,y,sea\nc,z,sky\n"


def metadata(folder: JobFolder) -> pd.DataFrame:
    """Return the metadata of what is finished."""
    return batchgen.read_metadata(folder.root)


@pytest.fixture
def job(write_table: WriteTable, run_job: RunJob, folder: JobFolder) -> JobFolder:
    """Return a finished job of three rows with a topic each."""
    write_table(BEFORE)
    run_job()
    return folder


def test_changed_added_and_removed_columns_are_followed(
    job: JobFolder, write_table: WriteTable, run_job: RunJob, caplog: pytest.LogCaptureFixture
) -> None:
    """In whatever order the rows stand by now."""
    write_table("prompt,split,id\nz,test,c\nx,train,a\ny,train,b\n")
    result = run_job()
    found = metadata(job).set_index("row_key")
    assert (result.n_made, result.exit_code) == (0, 0)
    assert "topic" not in found.columns
    assert found["split"].to_dict() == {"a": "train", "b": "train", "c": "test"}
    assert (
        "columns split, topic among them: its present values are in 3 rows of the metadata"
        in caplog.text
    )
    assert verify(job).is_clean


def test_an_edit_of_one_cell_is_followed(
    job: JobFolder, write_table: WriteTable, run_job: RunJob
) -> None:
    """And seen at the next start, not at each."""
    write_table(BEFORE.replace("y,sea", "y,coast"))
    assert run_job().n_made == 0
    assert metadata(job)["topic"].tolist() == ["sea", "coast", "sky"]
    assert run_job().message == "3 images, all done before"


def test_a_start_with_work_to_do_follows_as_well(
    job: JobFolder, write_table: WriteTable, run_job: RunJob
) -> None:
    """New rows and old ones agree."""
    write_table("id,prompt,topic,split\na,x,1,u\nb,y,2,v\nc,z,3,w\nd,new,4,t\n")
    assert run_job().n_made == 1
    assert metadata(job)["topic"].tolist() == ["1", "2", "3", "4"]
    assert metadata(job)["split"].tolist() == ["u", "v", "w", "t"]


def test_rows_that_left_the_table_keep_what_they_have(
    job: JobFolder, write_table: WriteTable, run_job: RunJob
) -> None:
    """There is nothing newer to know of them."""
    write_table("id,prompt,split\na,x,train\n")
    run_job()
    found = metadata(job).set_index("row_key")
    assert found["topic"].tolist() == [None, "sea", "sky"]
    assert found["split"].tolist() == ["train", None, None]


def test_a_column_takes_the_type_of_now(tmp_path: Path, run_job: RunJob, folder: JobFolder) -> None:
    """Where old rows do not fit, it is text, and the start goes on."""
    path = tmp_path / "t.parquet"

    def write(**columns: Any) -> None:
        pq.write_table(pa.table(columns), path)

    write(id=["a", "b"], prompt=["x", "y"], size=["1", "large"])
    run_job(table=path)
    write(id=["a"], prompt=["x"], size=[7])
    run_job(table=path)
    assert metadata(folder)["size"].tolist() == ["7", "large"]
    write(id=["a", "b"], prompt=["x", "y"], size=[7, 8])
    run_job(table=path)
    assert pq.read_schema(folder.metadata).field("size").type == pa.int64()
    assert metadata(folder)["size"].tolist() == [7, 8]


def test_no_id_means_the_number_of_the_row(
    write_table: WriteTable, run_job: RunJob, folder: JobFolder
) -> None:
    """As everywhere."""
    write_table("prompt,topic\nx,1\ny,2\n")
    run_job()
    write_table("prompt,topic\nx,1\ny,changed\n")
    run_job()
    assert metadata(folder)["topic"].tolist() == ["1", "changed"]


def test_a_lookup_reads_a_long_table_in_any_order(write_table: WriteTable) -> None:
    """Over several chunks, forwards and back."""
    n = 40_000
    rows = "".join(f"k{i},p,{i}\n" for i in range(n))
    now = TableNow(open_table(write_table("id,prompt,n\n" + rows), ReadingConfig()))
    for wanted in ([5, 20_000, 39_999], [39_999, 0], [17_000, 17_001]):
        places = now.places(pa.array([f"k{i}" for i in wanted] + ["gone"]))
        assert places.tolist() == [*wanted, -1]
        assert now.columns(np.array(wanted))["n"].to_pylist() == [str(i) for i in wanted]
