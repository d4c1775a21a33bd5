"""A signal while a command reads or waits ends it within a second, without a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchgen.storage.folder import JobFolder

SMALL = ["model=fake", "sampling.width=64", "sampling.height=64"]
SOON_S = 1.5
"""A second, and what a loaded machine takes for it."""


@pytest.fixture(scope="module")
def long_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table that takes many seconds to read."""
    path = tmp_path_factory.mktemp("long") / "long.csv"
    path.write_text("prompt\n" + "a cat\n" * 8_000_000)
    return path


class Command:
    """A command that runs in a process of its own."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "batchgen", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_until_it_reads(self, path: Path) -> None:
        """Wait until the process has a file open."""
        files, end = Path(f"/proc/{self.process.pid}/fd"), time.monotonic() + 30
        while not any(_target(one) == str(path) for one in files.iterdir()):
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)

    def ended_by(self, number: signal.Signals) -> tuple[int, float, str]:
        """Send a signal; return the exit code, the seconds it took, and what was said."""
        began = time.monotonic()
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=60)
        return self.process.returncode, time.monotonic() - began, said


def _target(link: Path) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 - a path that may not be one
    except FileNotFoundError:
        return ""


@pytest.fixture
def started() -> Iterator[list[Command]]:
    """Commands that are killed at the end of the test."""
    commands: list[Command] = []
    yield commands
    for command in commands:
        command.process.kill()
        command.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_run_ends_with_75_while_it_reads(
    long_table: Path, tmp_path: Path, started: list[Command], number: signal.Signals
) -> None:
    """Nothing was begun, so nothing is left."""
    command = Command(["run", f"table={long_table}", *SMALL], tmp_path)
    started.append(command)
    command.wait_until_it_reads(long_table)
    code, seconds, said = command.ended_by(number)
    assert (code, "Traceback" in said) == (75, False)
    assert seconds < SOON_S
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_other_commands_die_as_the_signal_says(
    long_table: Path, tmp_path: Path, started: list[Command], number: signal.Signals
) -> None:
    """So a shell and `timeout` see what they sent."""
    command = Command(["plan", f"table={long_table}", *SMALL], tmp_path)
    started.append(command)
    command.wait_until_it_reads(long_table)
    code, seconds, said = command.ended_by(number)
    assert (code, "Traceback" in said) == (-number, False)
    assert seconds < SOON_S


def test_run_ends_while_it_watches_the_lock_of_another_host(
    tmp_path: Path, started: list[Command]
) -> None:
    """It would watch for a minute."""
    (tmp_path / "t.csv").write_text("prompt\na cat\n")
    first = Command(["run", "table=t.csv", *SMALL], tmp_path)
    started.append(first)
    assert first.process.wait(60) == 0
    folder = JobFolder(tmp_path / "outputs" / "t")
    (tmp_path / "t.csv").write_text("prompt\na cat\na dog\n")
    holder = {"pid": 1, "host": "elsewhere", "boot_id": "other", "token": "x", "time": 0}
    for path in (folder.lock, folder.lock.with_name("lock.claim")):
        path.write_text(json.dumps(holder))
    command = Command(["run", "table=t.csv", *SMALL], tmp_path)
    started.append(command)
    time.sleep(3)
    assert command.process.poll() is None
    code, seconds, said = command.ended_by(signal.SIGTERM)
    assert (code, "Traceback" in said) == (75, False)
    assert seconds < SOON_S
