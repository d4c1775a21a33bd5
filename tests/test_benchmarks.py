"""The benchmarks run, on little; what they print is for docs/performance.md."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_a_large_table_is_planned_and_resumed() -> None:
    """The resume goes on behind what is finished."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "large_table.py", "--rows", "2000"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "first batch: row 1900" in done.stdout


def test_shards_are_merged() -> None:
    """All of them."""
    command = [sys.executable, str(BENCHMARKS / "merge.py"), "--images", "200", "--shards", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("200 images of 3 shards: ")


def test_a_driver_commits_what_a_crew_that_draws_nothing_hands_it() -> None:
    """All of it; workers are for `make test-ray`."""
    command = [sys.executable, str(BENCHMARKS / "workers.py"), "--images", "100", "--workers", ""]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "images/s over 100; peak memory" in done.stdout
