"""Real MindSpore, killed and started again: the demo model ends with the same bytes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import batchgen
from batchgen.ledger.schema import METADATA

N_KILLS = 3
FREE = [column.name for column in METADATA if not column.repeats]


def start(table: Path, output_root: Path) -> subprocess.Popen[bytes]:
    """Start the job in a process of its own."""
    command = [sys.executable, "-m", "batchgen", "run", f"table={table}", "name=job"]
    settings = [f"output_root={output_root}", "model=demo", "batch_size=4", "sampling.steps=6"]
    return subprocess.Popen([*command, *settings], stderr=subprocess.DEVNULL)


def metadata(output_root: Path) -> pd.DataFrame:
    """Return what must repeat of the metadata."""
    return batchgen.read_metadata(output_root / "job").drop(columns=FREE)


@pytest.mark.slow
def test_the_demo_model_ends_with_the_same_bytes_after_kills(tmp_path: Path) -> None:
    """Sixty images at batch 4, killed three times at random, against a run that went through."""
    table = tmp_path / "prompts.txt"
    table.write_text("".join(f"a drawing of {n} trees\n" for n in range(60)))
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    began = time.monotonic()
    assert start(table, calm).wait() == 0
    took_s = time.monotonic() - began
    for _ in range(N_KILLS):
        process = start(table, killed)
        time.sleep(took_s * random.uniform(0.15, 0.5))  # noqa: S311
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert start(table, killed).wait() == 0
    assert metadata(killed).equals(metadata(calm))
    for path in sorted(calm.glob("job/images/*/*")):
        assert path.read_bytes() == (killed / path.relative_to(calm)).read_bytes()
