"""Commands that may hang."""

from __future__ import annotations

import sys
import time

import pytest

from batchgen.doctor.bounded import Ended, ended


def python(code: str) -> list[str]:
    """Return the command that runs this code."""
    return [sys.executable, "-c", f"import os, subprocess, sys, time\n{code}"]


def test_a_command_that_ends_is_told_with_all_it_said() -> None:
    """Both streams, and the exit code; what is no UTF-8 does not matter."""
    code = "os.write(1, b'out \\xff'); os.write(2, b'err'); sys.exit(3)"
    assert ended(python(code), 60) == Ended("out \ufffd", "err", 3)


def test_a_command_that_hangs_is_killed_and_what_it_said_is_kept() -> None:
    """The last line tells where it hung."""
    assert ended(python("os.write(1, b'so far'); time.sleep(60)"), 1) == Ended("so far", "", None)


def test_nothing_is_waited_for_that_a_killed_command_left_behind() -> None:
    """What it started in a session of its own has its streams, and lives on."""
    code = "subprocess.Popen(['sleep', '6'], start_new_session=True); time.sleep(60)"
    started = time.monotonic()
    assert ended(python(code), 1).code is None
    assert time.monotonic() - started < 4


def test_a_command_that_is_not_there_raises() -> None:
    """The caller says what it was for."""
    with pytest.raises(FileNotFoundError):
        ended(["/no/such/command"], 1)
