"""A grid read as one frame."""

from __future__ import annotations

from pathlib import Path

import pytest

import batchgen
from batchgen.cli.main import main
from batchgen.errors import FolderError


def test_a_grid_is_one_frame_with_its_swept_keys_typed(tmp_path: Path) -> None:
    """Point and keys come first, the file names lead to pictures from the grid's folder."""
    table = tmp_path / "t.csv"
    table.write_text("prompt,point\na cat,7\na dog,8\n")
    line = [f"table={table}", "name=grid", f"output_root={tmp_path}", "model=fake"]
    swept = ["sampling.steps=2,3", "batch_size=1,2"]
    assert main(["run", "-m", *line, *swept]) == 0
    frame = batchgen.read_metadata(tmp_path / "grid")
    assert list(frame.columns[:4]) == ["point", "point.batch_size", "sampling.steps", "file_name"]
    assert sorted(set(frame["sampling.steps"])) == [2, 3]
    assert list(frame["sampling.steps"]) == list(frame["steps"])
    assert set(frame["table_point"]) == {"7", "8"}
    assert len(frame) == 8
    assert all((tmp_path / "grid" / name).is_file() for name in frame["file_name"])


def test_a_grid_without_a_job_is_refused(tmp_path: Path) -> None:
    """A folder that is neither a job nor a grid is told as before."""
    with pytest.raises(FolderError):
        batchgen.read_metadata(tmp_path)
