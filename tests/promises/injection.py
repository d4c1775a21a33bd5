"""Commands of batchgen in processes of their own, each with a fault at a chosen I/O call."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import pytest

HERE = Path(__file__).parent


class Mode(IntEnum):
    """What the shim does; the numbers are those of `enum mode` in shim.c."""

    count = 0
    kill = 1
    """Kill the process before call number `at`."""
    tear = 2
    """Write half of the bytes of call number `at`, then kill the process."""
    fail = 3
    """Let call number `at` fail with `code`."""
    fail_on = 4
    """Let all calls from number `at` on fail with `code`, but for unlink, rmdir and flock."""
    slow = 5
    """Let a sync take none, one or two times `code` milliseconds, by turns."""
    no_flock = 6
    """Let every flock fail with `code`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault in a process."""

    mode: Mode = Mode.count
    at: int = 0
    """Number of the call, from 1."""
    code: int = 0
    """An errno, or milliseconds; see `Mode`."""

    def __str__(self) -> str:
        """Return it in words, for a message of a test."""
        return f"{self.mode.name} at call {self.at}, {self.code}"


@dataclass(frozen=True, slots=True)
class Call:
    """An I/O call below the watched folder: its kind, and the kind of file it was for."""

    kind: str
    place: str
    """The path without what differs between two runs; `~` behind it is its temporary file."""

    @classmethod
    def parse(cls, line: str) -> Call:
        """Read a line of the shim's log."""
        _, kind, path = line.split(" ", 2)
        return cls(kind, place_of(path.strip("/")))

    def __str__(self) -> str:
        """Return kind and place."""
        return f"{self.kind} {self.place}"


def place_of(path: str) -> str:
    """Return a path below the job's folder without process, time, sequence and image numbers."""
    folder, _, name = path.rpartition("/")
    draft = re.fullmatch(r"\.(.+?)(?:\.\d+-[0-9a-f]{8})?\.tmp", name)
    name = draft[1] if draft else name
    name = re.sub(r"^\d{8}-.+(?=\.(jsonl|parquet))", "N", name)
    name = re.sub(r"^\d{9,}-\d+(?=\.)", "N", name)
    name = re.sub(r"^crash-.+(?=\.txt)", "crash", name)
    folder = re.sub(r"removed/[0-9a-f]{8}", "removed/X", folder)
    folder = re.sub(r"images/\d{5,}", "images/N", folder)
    name = re.sub(r"^[0-9a-f]{8}$", "X", name) if folder.endswith("removed") else name
    name = re.sub(r"^\d{5,}$", "N", name) if folder.endswith("images") else name
    return f"{folder}/{name}".lstrip("/") + ("~" if draft else "")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    """The exit code; minus the number of a signal that ended it."""
    said: str
    """What it wrote to the terminal."""
    calls: tuple[Call, ...]
    """What it did below the watched folder; where it was killed, the last is where."""


class Commands:
    """Runs commands in children of one server, which holds all imports and the shim."""

    def __init__(self, folder: Path) -> None:
        """Build the shim in `folder`, an existing one, and start the server."""
        self._folder = folder
        self._output, self._log = folder / "output.txt", folder / "calls.txt"
        environment = {
            **os.environ,
            "LD_PRELOAD": str(build_shim(folder)),
            "PYTHONPATH": str(HERE.parents[1]),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "fork_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=HERE.parents[1],
        )

    def run(self, arguments: list[str], *, at: Path, fault: Fault | None, watch: Path) -> Ended:
        """Run a command in the folder `at`; with a fault, or `Fault()`, its calls are returned."""
        for path in (self._output, self._log):
            path.unlink(missing_ok=True)
        armed = None
        if fault is not None:
            armed = (fault.mode, fault.at, fault.code, str(watch), str(self._log))
        request = {
            "arguments": arguments,
            "folder": str(at),
            "output": str(self._output),
            "fault": armed,
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        assert answer, "the server that forks the commands has ended"
        code = int(answer)
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        said = self._output.read_text(errors="replace")
        return Ended(code, said, tuple(Call.parse(line) for line in lines))

    def close(self) -> None:
        """End the server."""
        self._server.communicate()


def build_shim(folder: Path) -> Path:
    """Compile the shim; skips the test where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler, cc, for the shim that injects faults")
    library = folder / "shim.so"
    options = ["-O1", "-shared", "-fPIC", "-Wall", "-o", str(library)]
    subprocess.run([compiler, *options, str(HERE / "shim.c"), "-ldl", "-lpthread"], check=True)
    return library
