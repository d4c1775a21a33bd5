"""`--to webdataset`, read back by webdataset."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from exports import Ask, files, pictures

from batchgen.export import handover
from batchgen.ledger.reader import read_table
from batchgen.storage.folder import JobFolder

pytestmark = [  # webdataset leaves the files it read to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]


def samples(ask: Ask) -> list[dict[str, Any]]:
    """Return what webdataset finds in all shards, in their order."""
    import webdataset

    shards = sorted(map(str, ask.out.glob("*.tar")))
    return list(webdataset.WebDataset(shards, shardshuffle=False))


def test_webdataset_reads_pictures_prompts_and_rows(ask: Ask, pair_job: JobFolder) -> None:
    """The key has no dot, the members of a sample are side by side."""
    ask("webdataset")
    found = samples(ask)
    assert [(one["png"], one["txt"].decode()) for one in found] == pictures(pair_job)
    rows = [json.loads(one["json"]) for one in found]
    assert [row["id"] for row in rows[:3]] == ["k0-0", "k0-1", "k1-0"]
    assert [row["note"] for row in rows] == [f"note {n // 2}" for n in range(8)]
    assert [row["seed"] for row in rows] == read_table(pair_job)["seed"].to_pylist()
    assert "file_name" not in rows[0]
    times = read_table(pair_job)["created_at"].to_pylist()
    assert [datetime.fromisoformat(row["created_at"]) for row in rows] == times


def test_a_shard_holds_what_fits_and_no_image_is_cut(
    ask: Ask, pair_job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two images fit into each; one that is larger than a shard has one of its own."""
    sizes = [len(content) for content, _ in pictures(pair_job)]
    monkeypatch.setattr(handover, "FILE_BYTES", 2 * max(sizes))
    ask("webdataset")
    assert sorted(files(ask.out)) == [*(f"0000{n}.tar" for n in range(4)), "README.md"]
    assert [(one["png"], one["txt"].decode()) for one in samples(ask)] == pictures(pair_job)
    ask.out = ask.out.with_name("single")
    monkeypatch.setattr(handover, "FILE_BYTES", 1)
    ask("webdataset")
    assert len(list(ask.out.glob("*.tar"))) == 8


def test_the_same_images_give_the_same_bytes(ask: Ask) -> None:
    """No time and no user stands in a shard."""
    ask("webdataset")
    first, ask.out = files(ask.out), ask.out.with_name("again")
    ask("webdataset")
    assert files(ask.out) == first


def test_chosen_columns_go_along(ask: Ask) -> None:
    """The id is always there."""
    ask("webdataset", columns=["seed", "note"])
    assert list(json.loads(samples(ask)[0]["json"])) == ["id", "seed", "note"]
