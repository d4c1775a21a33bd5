"""A night of faults: a thousand images through two hundred of them, against a night without."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import batchgen

N_IMAGES = 1000
N_FAULTS = 200
SEED = 20260
LATENCY_S = 0.05
ROOM_BYTES = 400 * 2**20


_FAKED = {
    "out of memory": "model.oom_above_batch=2",
    "poison rows": "model.fail_rows=ROWS",
    "blank pictures": "model.blank_rows=ROWS",
    "crash": "model.crash_rows=ROWS",
}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of its own that can be filled."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs root to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


class Night:
    """A job that is started again and again, with one fault in each start."""

    def __init__(self, table: Path, output_root: Path) -> None:
        self.random = random.Random(SEED)  # noqa: S311
        self.folder = output_root / "night"
        self.command = [
            *(sys.executable, "-m", "batchgen", "run", f"table={table}", "name=night"),
            *(f"output_root={output_root}", "model=fake", "model.batch_sensitive=true"),
            *("batch_size=4", "sampling.width=64", "sampling.height=64"),
        ]
        self.exits: Counter[int] = Counter()
        self.n_truncated = 0

    def start(self, *extra: str, latency_s: float = LATENCY_S) -> subprocess.Popen[bytes]:
        """Start the job in a process of its own."""
        command = [*self.command, f"model.latency_s={latency_s}", *extra]
        null = subprocess.DEVNULL
        return subprocess.Popen(command, stdout=null, stderr=null)

    def end(self, process: subprocess.Popen[bytes], number: int | None = None) -> int:
        """Wait for the process, after a signal if one is given."""
        if number is not None:
            self.wait_for_work(process)
            time.sleep(self.random.uniform(0, 1.0))
            process.send_signal(number)
        code = process.wait(60)
        self.exits[code] += 1
        return code

    def wait_for_work(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the process has opened its journal; one start in five is not waited for."""
        journals = self.folder / ".batchgen/journals"
        before = set(journals.glob("*"))
        while self.random.random() > 0.002 and process.poll() is None:
            if set(journals.glob("*")) - before:
                return
            time.sleep(0.01)

    def rows(self, n: int) -> str:
        """Return some row indexes as an override's list."""
        return str(self.random.sample(range(N_IMAGES), n)).replace(" ", "")

    def fault(self, kind: str) -> None:
        """Have one fault."""
        if kind in _FAKED:
            override = _FAKED[kind].replace("ROWS", self.rows(60))
            self.end(self.start(override), signal.SIGTERM)
        elif kind == "disk full":
            self.fill_disk()
        elif kind == "deleted image":
            images = sorted(self.folder.glob("images/*/*.png"))
            if images:
                self.random.choice(images).unlink()
        else:
            number = signal.SIGTERM if kind == "SIGTERM" else signal.SIGKILL
            self.end(self.start(), number)
            if kind == "torn journal line":
                self.cut(self.folder / ".batchgen/journals", self.random.randrange(1, 400))
            if kind == "truncated part":
                self.truncate_sealed_file()

    def fill_disk(self) -> None:
        """Fill the disk under a running job, and make room again when it has stopped."""
        process = self.start()
        self.wait_for_work(process)
        time.sleep(self.random.uniform(0, 0.5))
        ballast = self.folder.parent / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                while file.write(b"\0" * 2**20):
                    pass
        except OSError:
            pass
        assert self.end(process) in (75, 0)
        ballast.unlink()

    def cut(self, folder: Path, n_bytes: int) -> None:
        """Take the last bytes off the newest file of a folder."""
        for path in sorted(folder.glob("*"))[-1:]:
            os.truncate(path, max(0, path.stat().st_size - n_bytes))

    def truncate_sealed_file(self) -> None:
        """Cut a part in two, as a failing disk would, and repair the folder."""
        sealed = sorted(self.folder.glob(".batchgen/parts/*.parquet"))
        if not sealed and self.random.random() < 0.05:
            sealed = list(self.folder.glob("metadata.parquet"))
        if not sealed:
            return
        path = self.random.choice(sealed)
        os.truncate(path, path.stat().st_size // 2)
        self.n_truncated += 1
        assert self.end(self.start()) == 2
        assert self.verify("--repair") == 0

    def verify(self, *extra: str) -> int:
        """Run `batchgen verify` on the folder."""
        command = [sys.executable, "-m", "batchgen", "verify", str(self.folder), *extra]
        return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode

    def finish(self) -> None:
        """Start the job without faults until all is done and well."""
        for _ in range(3):
            self.verify("--repair")
            self.end(self.start("retry.failed=true", latency_s=0))
        assert self.verify() == 0


_KINDS = (
    *("kill -9",) * 5,
    *("SIGTERM",) * 2,
    *("out of memory", "poison rows", "blank pictures", "crash", "disk full"),
    *("torn journal line", "truncated part", "deleted image"),
)


@pytest.mark.slow
def test_a_night_of_faults_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    """After 200 faults each image is there once, with the bytes of a night without faults."""
    table = tmp_path / "prompts.csv"
    table.write_text("id,prompt\n" + "".join(f"r{i},prompt {i}\n" for i in range(N_IMAGES)))
    calm, night = Night(table, tmp_path / "calm"), Night(table, small_disk)
    assert calm.end(calm.start(latency_s=0)) == 0
    faults = Counter(night.random.choices(_KINDS, k=N_FAULTS))
    shuffled = night.random.sample(list(faults.elements()), N_FAULTS)
    # Out of memory comes last: the rung it leaves behind gives all later images smaller batches.
    for kind in sorted(shuffled, key=lambda kind: kind == "out of memory"):
        night.fault(kind)
    night.verify("--repair")
    n_before = len(batchgen.read_metadata(night.folder))
    night.finish()

    expected, found = (batchgen.read_metadata(n.folder).set_index("row_key") for n in (calm, night))
    assert found.index.tolist() == expected.index.tolist()
    assert len(list(night.folder.glob("images/*/*"))) == N_IMAGES
    is_same_batch = (found["batch_id"] == expected["batch_id"]) & (found["rung"] == "")
    is_same = found["file_sha256"] == expected["file_sha256"]
    assert is_same[is_same_batch].all()
    assert n_before > N_IMAGES / 2, "the faults came before there was much to lose"
    _report(faults, night, found[~is_same_batch])


def _report(faults: Counter[str], night: Night, others: pd.DataFrame) -> None:
    sys.stdout.write(f"\n{N_IMAGES} images, {faults.total()} faults: {dict(faults)}\n")
    sys.stdout.write(f"sealed files cut in two: {night.n_truncated}\n")
    sys.stdout.write(f"exit codes of the starts: {dict(night.exits)}\n")
    sizes = dict(Counter(others["batch_size"].tolist()))
    sys.stdout.write(f"made in another batch: {len(others)} images, by batch size {sizes}\n")
    sys.stdout.write(f"rows: {others['row_index'].tolist()}\n")
