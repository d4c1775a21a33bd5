"""`--to parquet`, read back by datasets and DuckDB."""

from __future__ import annotations

import io

import duckdb
import pyarrow.parquet as pq
import pytest
from exports import Ask, files, pictures
from PIL import Image

from batchgen.export import handover
from batchgen.ledger.reader import read_table
from batchgen.storage.folder import JobFolder


def test_datasets_reads_the_pictures_with_their_rows(
    ask: Ask, pair_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`image` is a picture by itself, the other columns have their types; here in two files."""
    import datasets

    sizes = [len(content) for content, _ in pictures(pair_job)]
    monkeypatch.setattr(handover, "FILE_BYTES", sum(sizes) - 1)
    ask("parquet")
    names = [name for name in files(ask.out) if name.endswith(".parquet")]
    assert names == [f"train-0000{n}-of-00002.parquet" for n in range(2)]
    rows = datasets.load_dataset(
        "parquet", data_dir=str(ask.out), split="train", cache_dir=str(ask.out.parent / "cache")
    )
    want = [
        (Image.open(io.BytesIO(content)).tobytes(), text) for content, text in pictures(pair_job)
    ]
    assert [(row["image"].tobytes(), row["text"]) for row in rows] == want
    assert rows["seed"][:] == read_table(pair_job)["seed"].to_pylist()
    assert rows["id"][:2] == ["k0-0", "k0-1"]


def test_duckdb_reads_rows_and_bytes(ask: Ask, pair_job: JobFolder) -> None:
    """Without any knowledge of features."""
    ask("parquet", columns=["text"])
    query = "SELECT image.bytes, text FROM read_parquet(?) ORDER BY image.path"
    found = duckdb.connect().execute(query, [f"{ask.out}/*.parquet"]).fetchall()
    assert found == pictures(pair_job)


def test_a_row_group_is_small(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A viewer of a few rows reads few pictures."""
    monkeypatch.setattr("batchgen.export.picture_parquet._GROUP_ROWS", 3)
    ask("parquet")
    metadata = pq.read_metadata(ask.out / "train-00000-of-00001.parquet")
    assert [metadata.row_group(n).num_rows for n in range(3)] == [3, 3, 2]
