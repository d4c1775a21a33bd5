"""The status of a grid."""

from __future__ import annotations

from pathlib import Path

from batchgen.cli.main import main
from batchgen.report.status import status_lines


def test_a_grid_has_a_line_a_point_and_a_sum(tmp_path: Path) -> None:
    """The sum comes last and counts the images of all points."""
    table = tmp_path / "t.csv"
    table.write_text("prompt\na cat\na dog\n")
    line = [f"table={table}", "name=grid", f"output_root={tmp_path}", "model=fake"]
    assert main(["run", "-m", *line, "sampling.steps=2,3,4"]) == 0
    grid = tmp_path / "grid"
    *points, total = status_lines(grid)
    assert len(points) == 3
    assert all(point.startswith(f"{grid}/") for point in points)
    assert total == f"{grid}: in 3 points, 6 of 6 images"
    assert len(list(status_lines(next(grid.glob("*/job.json")).parent))) == 1
