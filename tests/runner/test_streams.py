"""Standard streams that are gone: the job ends as if they were there."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import WritePrompts

from batchgen.runner.streams import Courtesy
from batchgen.storage.folder import JobFolder

SHELL = 'exec "$0" -m batchgen run table=t.csv model=fake sampling.width=64 sampling.height=64'
STREAMS = {
    "both closed": ">&- 2>&-",
    "all closed": "<&- >&- 2>&-",
    "stderr closed": "2>&-",
    "on a full device": ">/dev/full 2>/dev/full",
}


class _Broken(io.StringIO):
    """A stream whose device fails."""

    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("streams", STREAMS.values(), ids=STREAMS)
def test_a_job_ends_without_its_streams(
    tmp_path: Path, prompts: WritePrompts, folder: JobFolder, streams: str
) -> None:
    """With all images, the same exit code, and nothing strange in the folder's files."""
    prompts(4)
    command = ["sh", "-c", f"{SHELL} {streams}", sys.executable]
    done = subprocess.run(command, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 0
    assert len(list(folder.images.rglob("*.png"))) == 4
    assert folder.lock.read_bytes() == b""


def test_a_job_ends_without_a_reader(
    tmp_path: Path, prompts: WritePrompts, folder: JobFolder
) -> None:
    """As of `batchgen run ... | head -0`."""
    prompts(4)
    reading, writing = os.pipe()
    os.close(reading)
    command = ["sh", "-c", SHELL, sys.executable]
    done = subprocess.run(
        command, cwd=tmp_path, stdout=writing, stderr=writing, timeout=60, check=False
    )
    os.close(writing)
    assert done.returncode == 0
    assert len(list(folder.images.rglob("*.png"))) == 4


def test_a_stream_that_fails_is_silent_from_then_on() -> None:
    """And never raises."""
    stream = Courtesy(_Broken())
    assert stream.write("a") == 1
    stream.flush()
    assert stream.write("b") == 1


def test_a_closed_stream_is_silent() -> None:
    """Nobody reads it."""
    text = io.StringIO()
    text.close()
    Courtesy(text).write("a")
    assert not Courtesy(None).isatty()
    with pytest.raises(OSError, match="closed"):
        Courtesy(None).fileno()


def test_letters_that_a_terminal_does_not_know_are_escaped() -> None:
    """A prompt in Chinese on a terminal of ASCII."""
    raw = io.BytesIO()
    stream = Courtesy(io.TextIOWrapper(raw, "ascii"))
    stream.write("猫\n")
    stream.write("cat\n")
    stream.flush()
    assert raw.getvalue() == b"\\u732b\ncat\n"


def test_a_stream_that_fails_costs_no_descriptor() -> None:
    """A process that makes a thousand jobs would run out of them."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as stream:
            Courtesy(stream).write("x" * 10**6)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
