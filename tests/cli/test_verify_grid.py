"""`batchgen verify` of a grid."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchgen.cli.main import main


def test_a_grid_is_verified_point_by_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each point has a line; a picture that is gone is said of its own point."""
    table = tmp_path / "t.csv"
    table.write_text("prompt\na cat\n")
    line = [f"table={table}", "name=grid", f"output_root={tmp_path}", "model=fake"]
    assert main(["run", "-m", *line, "sampling.steps=2,3"]) == 0
    grid = tmp_path / "grid"
    capsys.readouterr()
    assert main(["verify", str(grid)]) == 0
    points = sorted(path.parent.name for path in grid.glob("*/job.json"))
    told = capsys.readouterr().out
    assert all(f"{grid / point}: " in told for point in points)
    next((grid / points[1] / "images").rglob("*.png")).unlink()
    assert main(["verify", str(grid)]) == 3
    said = [text for text in capsys.readouterr().out.splitlines() if "missing" in text]
    assert said
    assert all(text.startswith(f"{grid / points[1]}: ") for text in said)
