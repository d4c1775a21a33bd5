"""The points of a grid: their values, their folders, and those of an older sweep.parquet."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchgen.cli.compose import Composer
from batchgen.cli.main import main
from batchgen.cli.points import points_of
from batchgen.runner.grid import Point, known_points, record_points

GRID = ("table=t.csv", "name=grid", "model=fake", "sampling.width=64", "sampling.height=64")
SAMPLES = Path(__file__).parents[1] / "samples" / "jobs-0.1.0" / "grid"


def points(*overrides: str) -> list[Point]:
    """Return the points of a small grid, all of them valid."""
    found, codes = points_of(Composer(), [*GRID, *overrides])
    assert not codes
    return found


def values(override: str) -> list[Any]:
    """Return the values of the one swept key."""
    return [one.overrides[override.partition("=")[0]] for one in points(override)]


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("sampling.guidance_scale=range(0.1,0.4,0.1)", [0.1, 0.2, 0.3]),
        ("sampling.guidance_scale=range(1,0.7,-0.1)", [1.0, 0.9, 0.8]),
        ("sampling.guidance_scale=sort(range(3,1,-0.75))", [1.5, 2.25, 3.0]),
        ("sampling.steps=sort(range(1,6,2),reverse=true)", [5, 3, 1]),
        ("sampling.steps=sort(range(7,0,-3))", [1, 4, 7]),
        ("seed=range(3)", [0, 1, 2]),
        ("sampling.steps=str(range(3,5))", [3, 4]),
        ("sampling.steps=int(range(1,3))", [1, 2]),
        ("sampling.guidance_scale=float(range(1,3))", [1.0, 2.0]),
        ("sampling.steps=choice(4,8)", [4, 8]),
        ("sampling.steps='4','8'", [4, 8]),
        ("sampling.negative_prompt=choice('x, y','z')", ["x, y", "z"]),
        ("sampling.negative_prompt='a b','c'", ["a b", "c"]),
        ("sampling.negative_prompt=\"it's\",'q\"q'", ["it's", 'q"q']),
        ("sampling.weighting=true,false", [True, False]),
        ("images=glob(*p*)", ["jpeg", "png", "webp"]),
    ],
)
@pytest.mark.usefixtures("workplace")
def test_a_sweep_holds_what_was_meant(override: str, meant: list[Any]) -> None:
    """Numbers as they were written, texts without quotes and escapes."""
    assert values(override) == meant


@pytest.mark.parametrize(
    "override",
    [
        *("sampling.steps=range(1,10,0)", "sampling.scheduler=glob(*)", "model=glob(x*)"),
        *("sampling.guidance_scale=interval(1,5)", "sampling.steps=range(5,5)"),
        *("sampling.steps=choice()", "sampling.steps=range(0,inf)", "sampling.steps=range(1e9)"),
        *("sampling.steps=1,range(3,5)", "seeds=[range(3)]", "sampling.steps=sort(1,a)"),
        *("sampling.steps=int(a,b)", "sampling.steps=foo(1)", "sampling.guidance_scale=1,nan"),
        *("sampling.steps=sort(interval(1,2))", "sampling.negative_prompt=choice()"),
        *("sampling.steps=tag(a)", "sampling.steps=range(1,2,3,4)", "sampling.steps=range(a)"),
        *("sampling.steps=choice(range(1,3),5)", "sampling.steps=shuffle()"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.usefixtures("workplace")
def test_a_sweep_without_a_meaning_is_refused_by_name(
    override: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In plan and in run, with 2, and no folder is made."""
    assert main([command, "-m", *GRID, override]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"batchgen: {override}")
    assert "Write:" not in said
    assert not Path("outputs").exists()


@pytest.mark.usefixtures("workplace")
def test_values_keep_their_types_in_sweep_parquet() -> None:
    """Columns are named by key; whole and real numbers together are real."""
    found = points("sampling.guidance_scale=5,7.5", "seed=1,2", "sampling.negative_prompt='x, y',z")
    record_points(found[0].root, found)
    table = pq.read_table("outputs/grid/sweep.parquet")
    types = {name: table.schema.field(name).type for name in table.column_names[3:]}
    assert types == {
        "sampling.guidance_scale": pa.float64(),
        "sampling.negative_prompt": pa.string(),
        "seed": pa.int64(),
    }
    assert table["sampling.negative_prompt"].to_pylist()[:2] == ["x, y", "z"]


def test_the_text_of_an_older_sweep_parquet_is_retyped(tmp_path: Path) -> None:
    """Read with types, and written with them at the next start."""
    root = tmp_path / "grid"
    shutil.copytree(SAMPLES / "grid", root)
    assert [row["sampling.steps"] for row in known_points(root)] == [4, 4, 8, 8]
    record_points(root, [])
    table = pq.read_table(root / "sweep.parquet")
    assert table["sampling.guidance_scale"].to_pylist() == [5.0, 7.5, 5.0, 7.5]


@pytest.mark.usefixtures("workplace")
def test_a_point_of_an_older_grid_keeps_its_folder_and_its_value() -> None:
    """0.1.0 made 0.30000000000000004 of 0.1 + 0.1 + 0.1, and a folder of that name."""
    key = "sampling.guidance_scale"
    (old,) = points(f"{key}=choice(0.30000000000000004)")
    Path("outputs/grid").mkdir(parents=True)
    row = {"folder": old.folder_name, "overrides": f"{key}=0.30000000000000004"}
    row |= {"settings": old.settings, key: "0.30000000000000004"}
    pq.write_table(pa.Table.from_pylist([row]), "outputs/grid/sweep.parquet")
    found = points(f"{key}=range(0.1,0.4,0.1)")
    assert [one.overrides[key] for one in found] == [0.1, 0.2, 0.30000000000000004]
    assert found[2].folder_name == old.folder_name
    assert found[2].config.sampling.guidance_scale == 0.30000000000000004


@pytest.mark.usefixtures("workplace")
def test_plan_of_a_grid_says_once_what_is_common(capsys: pytest.CaptureFixture[str]) -> None:
    """Then a line a point, with what it has for itself, and the sum."""
    Path("few.csv").write_text("id,prompt,note\na,a cat,x\n", encoding="utf-8")
    command = ["-m", "table=t.csv,few.csv", "model=fake", "sampling.width=64", "name=grid"]
    command += ["sampling.height=64", "sampling.steps=10,20"]
    assert main(["run", *command, "limit=1"]) == 0
    capsys.readouterr()
    assert main(["plan", *command]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("model ") for line in lines) == 1
    points = [line for line in lines if line.startswith("point ")]
    assert len(points) == 4
    assert sum("images 3: 1 done, 0 failed, 2 to make" in line for line in points) == 2
    assert sum("images 1: 1 done, 0 failed, 0 to make" in line for line in points) == 2
    assert lines.count("  table     few.csv: 1 row") == 2
    assert lines[-1].startswith("in all    4 points, images 8: 4 done, 0 failed, 4 to make")
