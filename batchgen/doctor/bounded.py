"""Commands that may hang: they are killed after a time, and left if even that does not end them.

A process that waits for a driver which does not answer cannot be killed, and whoever waits for it,
or for its pipes, hangs with it. So what it prints goes into files.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import BinaryIO

_GRACE_S = 2.0
"""How long a process that was killed may take to end."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known of a command."""

    printed: str
    """What it wrote to standard output, as far as it came."""
    said: str
    """What it wrote to standard error."""
    code: int | None
    """Its exit code, -N for signal N; None where it did not end in time."""


def ended(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run a command in a session of its own, and return how it ended.

    Args:
        command: Program and arguments.
        timeout_s: How long it may take.
        environment: Its environment variables; those of this process where they are not given.

    Raises:
        OSError: It cannot be started.
    """
    with TemporaryFile() as output, TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        code = None
        try:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(timeout_s)
        finally:  # Ctrl-C does not reach its session
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_S)
        return Ended(_text(output), _text(errors), code)


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
