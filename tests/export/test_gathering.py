"""Jobs, shards and grids as one stream."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from conftest import RunJob, WritePrompts

from batchgen.cli.main import main
from batchgen.errors import FolderError, JobInUse
from batchgen.export.exporting import export
from batchgen.export.gathering import Gathering
from batchgen.export.question import Question
from batchgen.runner.grid import known_points
from batchgen.storage.folder import JobFolder
from batchgen.storage.lock import FolderLock

SMALL = ("model=fake", "sampling.width=64", "sampling.height=64")


def question(*folders: Path, **asked: Any) -> Question:
    """Return a question for a flat folder."""
    return Question(**{"folders": [*folders], "layout": "flat", "out": Path("exported"), **asked})


def ids(*folders: Path, **asked: Any) -> list[str]:
    """Return the ids of all images of some folders."""
    return [entry.id for entry in Gathering(question(*folders, **asked)).entries()]


@pytest.mark.usefixtures("workplace")
def test_ids_of_a_grid_begin_with_the_point() -> None:
    """The folder of the point, as in the lists that a report gives; `point` is a column, too."""
    assert main(["run", "-m", "table=t.csv", "name=grid", *SMALL, "sampling.steps=4,8"]) == 0
    grid = Path("outputs/grid")
    folders = sorted(row["folder"] for row in known_points(grid))
    assert ids(grid) == [f"{point}-{key}-0" for point in folders for key in "abc"]
    gathering = Gathering(question(grid, where=f"point = '{folders[1]}'"))
    assert [entry.row["point"] for entry in gathering.entries()] == [folders[1]] * 3
    assert gathering.schema.names[:2] == ["id", "point"]
    assert ids(grid / folders[0]) == ["a-0", "b-0", "c-0"]


@pytest.mark.usefixtures("workplace")
def test_shards_that_are_not_merged_are_one_job() -> None:
    """Each image once, with the ids of the whole job."""
    for shard in ("0/2", "1/2"):
        assert main(["run", "table=t.csv", "name=parted", *SMALL, f"shard={shard}"]) == 0
    assert sorted(ids(Path("outputs/parted"))) == ["a-0", "b-0", "c-0"]


def test_several_jobs_give_all_columns(
    prompts: WritePrompts, tmp_path: Path, run_job: RunJob, folder: JobFolder
) -> None:
    """What a job has not is null; a column of two types is text; our own names stay ours."""
    prompts(1)
    run_job()
    other = tmp_path / "u.jsonl"
    other.write_text(json.dumps({"key": "x", "prompt": "p", "note": 7, "id": "mine"}))
    run_job(table=other, name="u", reading={"columns": {"id": "key"}})
    out = tmp_path / "both"
    export(
        question(
            folder.root,
            folder.root.parent / "u",
            layout="webdataset",
            out=out,
            columns=["note", "table_id"],
        )
    )
    with tarfile.open(out / "00000.tar") as tar:
        names = [name for name in tar.getnames() if name.endswith(".json")]
        rows = [json.load(tar.extractfile(name)) for name in names]  # type: ignore[arg-type]
    assert rows == [
        {"id": "k0-0", "note": "note 0", "table_id": None},
        {"id": "x-0", "note": "7", "table_id": "mine"},
    ]


def test_two_images_of_one_id_are_refused(pair_job: JobFolder, run_job: RunJob) -> None:
    """Two jobs of one table have them."""
    run_job(name="again")
    folders = (pair_job.root, pair_job.root.parent / "again")
    with pytest.raises(FolderError, match="Two images have the id 'k0-0'"):
        export(question(*folders, out=pair_job.root.parent.parent / "x"))


def test_a_folder_of_jobs_is_no_job(pair_job: JobFolder) -> None:
    """The message names those in it."""
    with pytest.raises(FolderError, match=r"neither a job nor a grid\. Name those in it: .*/t"):
        ids(pair_job.root.parent)


def test_a_job_at_work_is_not_exported(pair_job: JobFolder) -> None:
    """What is taken would depend on the moment."""
    with FolderLock(pair_job.lock), pytest.raises(JobInUse):
        ids(pair_job.root)


def test_a_column_that_is_not_there_is_named(pair_job: JobFolder) -> None:
    """With those that are."""
    with pytest.raises(FolderError, match="no column 'caption' for --columns; there are: id, row"):
        ids(pair_job.root, columns=["caption"])
