"""A grid's points: what names their folders, and the file that says which is which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchgen.config.job import JobConfig
from batchgen.config.models import DemoModel, FakeModel
from batchgen.config.sampling import SamplingConfig
from batchgen.errors import ExitCode, FolderError
from batchgen.runner.grid import Point, label_of, record_points, worst
from batchgen.storage.folder import GRID_FILE, JobFolder


def point(root: Path | str = "outputs", overrides: Any = None, **settings: Any) -> Point:
    """Return a point of the grid `grid`, of the fake model."""
    base = {"table": "t.csv", "name": "grid", "output_root": str(root), "model": FakeModel()}
    return Point(overrides or {}, JobConfig(**{**base, **settings}))


def test_a_point_is_a_job_in_a_folder_of_its_own_inside_the_grid() -> None:
    """The settings stay, the place is the grid's folder and a hash."""
    job = point(sampling=SamplingConfig(steps=10)).as_job()
    assert job.folder.parent == Path("outputs/grid")
    assert len(job.job_name) == 12
    assert job.sampling.steps == 10
    assert list(job.problems()) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"sampling": SamplingConfig(steps=10)},
        {"seed": 1},
        {"seeds": [1, 2]},
        {"batch_size": 2},
        {"table": "u.csv"},
        {"model": FakeModel(batch_sensitive=True)},
    ],
)
def test_another_setting_is_another_folder(settings: dict[str, Any]) -> None:
    """Two points never share a folder."""
    assert point(**settings).folder_name != point().folder_name


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "other"},
        {"output_root": "elsewhere"},
        {"limit": 3},
        {"sampling": SamplingConfig(steps=20)},
        {"overrides": {"sampling.steps": "20"}},
    ],
)
def test_what_is_no_setting_and_what_is_the_default_changes_no_folder(
    settings: dict[str, Any],
) -> None:
    """A grid moved, or with a default spelt out, finds its points."""
    assert point(**settings).folder_name == point().folder_name


def test_another_model_is_another_folder() -> None:
    """`-m model=fake,demo` is two points."""
    assert point(model=DemoModel()).folder_name != point().folder_name


def test_seeds_spelt_in_another_way_are_the_same_folder() -> None:
    """0..2 is [0,1,2]."""
    assert point(seeds="0..2").folder_name == point(seeds=[0, 1, 2]).folder_name


def test_the_label_of_a_point_is_its_overrides_in_one_line() -> None:
    """Sorted, so that the order of the command line does not show."""
    overrides = {"sampling.steps": "10", "sampling.guidance_scale": "5"}
    assert point(overrides=overrides).label == "sampling.guidance_scale=5 sampling.steps=10"


def test_sweep_parquet_maps_folders_to_overrides(tmp_path: Path) -> None:
    """One row a point, and one column a swept key."""
    points = [
        point(tmp_path, {"sampling.steps": str(n)}, sampling=SamplingConfig(steps=n))
        for n in (10, 20)
    ]
    record_points(points[0].root, points)
    rows = pq.read_table(tmp_path / "grid" / GRID_FILE).to_pylist()
    assert [row["sampling.steps"] for row in rows] == ["10", "20"]
    assert [row["folder"] for row in rows] == [p.folder_name for p in points]
    assert rows[0]["overrides"] == "sampling.steps=10"


def test_new_points_join_those_that_are_there(tmp_path: Path) -> None:
    """A key that an earlier point did not sweep is null there; nothing is listed twice."""
    first = point(tmp_path, {"seed": "1"}, seed=1)
    second = point(tmp_path, {"batch_size": "2"}, batch_size=2)
    record_points(first.root, [first])
    record_points(first.root, [second, first])
    rows = pq.read_table(first.root / GRID_FILE).to_pylist()
    assert [(row["seed"], row["batch_size"]) for row in rows] == [("1", None), (None, "2")]


def test_a_grid_that_brings_nothing_new_leaves_its_file_alone(tmp_path: Path) -> None:
    """Started again, it writes nothing."""
    points = [point(tmp_path, {"seed": "1"}, seed=1)]
    record_points(points[0].root, points)
    before = (points[0].root / GRID_FILE).stat()
    record_points(points[0].root, points)
    after = (points[0].root / GRID_FILE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_folder_that_is_a_job_cannot_become_a_grid(tmp_path: Path) -> None:
    """The refusal names the folder, and writes nothing into it."""
    JobFolder(tmp_path / "grid").create()
    with pytest.raises(FolderError, match="grid is a job and cannot become a grid"):
        record_points(tmp_path / "grid", [point(tmp_path)])
    assert not (tmp_path / "grid" / GRID_FILE).exists()


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([0, 0], 0),
        ([0, 3, 0], 3),
        ([3, 75], 75),
        ([75, 4, 3], 4),
        ([4, 2, 75], 2),
        ([2, 1], 1),
    ],
)
def test_a_grid_ends_with_the_most_severe_code_of_its_points(codes: list[int], code: int) -> None:
    """2, 4, 75, 3, 0; a bug outdoes all."""
    assert worst([ExitCode(one) for one in codes]) == code


@pytest.mark.parametrize("content", [b"", b"PAR1 torn", None])
def test_a_list_of_points_that_does_not_open_is_named(
    tmp_path: Path, content: bytes | None
) -> None:
    """A torn file, or a Parquet file of something else, is a sentence with a way out."""
    root = tmp_path / "grid"
    root.mkdir()
    path = root / GRID_FILE
    if content is None:
        pq.write_table(pa.table({"prompt": ["a cat"]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(FolderError, match=rf"{GRID_FILE} .*Move it away"):
        record_points(root, [point(tmp_path)])
    with pytest.raises(FolderError, match=rf"{GRID_FILE} .*Move it away"):
        label_of(root / "x")
