"""What a job takes on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import MakeConfig

from batchgen.runner.disk_space import Average, needed_bytes
from batchgen.runner.identity import Job
from batchgen.runner.opening import surveyed


def needs(fake_config: MakeConfig, table: Path, **settings: object) -> int:
    """Return the bytes that a job's images are thought to take."""
    job = Job.identify(fake_config(table, **settings))
    backlog = surveyed(job).backlog
    return needed_bytes(job.folder, job.config, backlog.n_pending, Average.of(backlog))


def test_rows_count_with_their_own_size(fake_config: MakeConfig, tmp_path: Path) -> None:
    """One image of 2048 x 2048 takes what 1,024 of 64 x 64 do."""
    table = tmp_path / "t.csv"
    table.write_text("prompt,width,height\na,2048,2048\nb,,\n")
    large = needs(fake_config, table)
    table.write_text("prompt\na\nb\n")
    small = needs(fake_config, table)
    assert large - small == pytest.approx(1.9 * (2048**2 - 64**2), rel=0.01)
    assert needs(fake_config, table, limit=1) == pytest.approx(small / 2, rel=0.01)


def test_carried_columns_count_with_each_image(fake_config: MakeConfig, tmp_path: Path) -> None:
    """In the parts, and in the metadata that they are merged into."""
    table = tmp_path / "t.csv"
    table.write_text(f"prompt,note\na,{'x' * 10_000}\n")
    with_note = needs(fake_config, table, images_per_prompt=3)
    without = needs(fake_config, table, images_per_prompt=3, reading={"drop": ["note"]})
    assert with_note - without == pytest.approx(3 * 2 * 10_000, rel=0.01)
