"""One process at a time, with `flock` and without."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.errors import FolderError, JobInUse
from batchgen.storage.lock import STALE_S, FolderLock

HERE = socket.gethostname()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)
HOLDERS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("host", "pid", "started", "heartbeat"), JSON)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a job called `job` has its lock."""
    place = tmp_path / "job" / ".batchgen"
    place.mkdir(parents=True)
    return place / "lock"


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without `flock`, such as Lustre mounted without it."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)


def write_holder(path: Path, *, host: str, pid: int, beat_ago_s: float) -> None:
    """Leave a lock file as another process writes it."""
    heartbeat = time.time() - beat_ago_s
    holder = {"host": host, "pid": pid, "started": heartbeat - 60, "heartbeat": heartbeat}
    path.write_text(json.dumps(holder))


def dead_pid() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_second_holder_is_refused_with_host_process_and_age(path: Path) -> None:
    """Whoever waits knows whom to ask."""
    with (
        FolderLock(path),
        pytest.raises(JobInUse, match=rf"job is in use by process {os.getpid()} on host {HERE}, "
                      r"for \d+ s, last heard of \d+ s ago"),
        FolderLock(path),
    ):  # fmt: skip
        pass


def test_lock_is_free_after_its_block(path: Path) -> None:
    """Nothing of the holder is left in the file."""
    with FolderLock(path):
        pass
    assert path.read_text() == ""
    with FolderLock(path):
        pass


def test_lock_of_a_killed_process_is_free(path: Path) -> None:
    """`kill -9` frees the folder at once, although the file still names the dead."""
    hold = "import sys; from pathlib import Path; from batchgen.storage.lock import FolderLock\n"
    hold += "with FolderLock(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(JobInUse, match=f"process {process.pid} "), FolderLock(path):
            pass
        process.kill()
        process.wait()
        assert str(process.pid) in path.read_text()
        with FolderLock(path):
            pass


def test_beat_renews_the_heartbeat(path: Path) -> None:
    """Hosts that see no flock of ours go by it."""
    with FolderLock(path) as lock:
        before = json.loads(path.read_text())
        time.sleep(0.01)
        lock.beat()
        after = json.loads(path.read_text())
    assert after["heartbeat"] > before["heartbeat"]
    assert after["started"] == before["started"]


def test_fresh_lock_of_another_host_is_respected(path: Path) -> None:
    """Some mounts keep flock to one host: there the heartbeat speaks."""
    write_holder(path, host="elsewhere", pid=1, beat_ago_s=5)
    with pytest.raises(JobInUse, match="on host elsewhere"), FolderLock(path):
        pass


def test_stale_lock_of_another_host_is_taken(path: Path) -> None:
    """A host that died does not hold the folder for ever."""
    write_holder(path, host="elsewhere", pid=1, beat_ago_s=STALE_S + 5)
    with FolderLock(path):
        assert json.loads(path.read_text())["host"] == HERE


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_living_process_of_this_host_is_respected(path: Path) -> None:
    """Its process id says that it lives, however old its heartbeat."""
    write_holder(path, host=HERE, pid=os.getppid(), beat_ago_s=10 * STALE_S)
    with pytest.raises(JobInUse, match=f"process {os.getppid()} "), FolderLock(path):
        pass


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_dead_process_of_this_host_is_passed_over(path: Path) -> None:
    """No waiting for its heartbeat to go stale."""
    write_holder(path, host=HERE, pid=dead_pid(), beat_ago_s=1)
    with FolderLock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.usefixtures("no_flock")
def test_without_flock_another_host_is_respected_while_it_beats(path: Path) -> None:
    """The soft lock of another host holds until it is stale."""
    write_holder(path, host="elsewhere", pid=1, beat_ago_s=5)
    with pytest.raises(JobInUse), FolderLock(path):
        pass
    write_holder(path, host="elsewhere", pid=1, beat_ago_s=STALE_S + 5)
    with FolderLock(path):
        pass


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_process_of_another_user_is_respected(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that may not be signalled lives."""

    def kill(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    write_holder(path, host=HERE, pid=1, beat_ago_s=5)
    monkeypatch.setattr(os, "kill", kill)
    with pytest.raises(JobInUse), FolderLock(path):
        pass


@given(HOLDERS | JSON)
@settings(max_examples=80, deadline=None)
def test_any_content_of_the_lock_file_is_free_or_in_use(content: Any) -> None:
    """A file that something else wrote is a sentence at worst, never a traceback."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "lock"
        path.write_text(json.dumps(content))
        with contextlib.suppress(JobInUse), FolderLock(path):
            assert json.loads(path.read_text())["pid"] == os.getpid()


def test_lock_that_cannot_be_written_is_refused(path: Path) -> None:
    """A folder that is not ours to write names the path and a way out."""
    path.mkdir()
    with pytest.raises(FolderError, match=r"lock cannot be written: .*output_root="):
        FolderLock(path).__enter__()


def test_probe_finds_the_holder_and_takes_nothing(path: Path) -> None:
    """Looking leaves the folder free."""
    with FolderLock(path), pytest.raises(JobInUse):
        FolderLock(path).probe()
    FolderLock(path).probe()
    with FolderLock(path):
        pass
