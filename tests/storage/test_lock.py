"""One process at a time, with `flock` and without."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.errors import FolderError, JobInUse, StorageError
from batchgen.storage import lock as lock_module
from batchgen.storage.lock import FolderLock

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


@pytest.fixture(autouse=True)
def _stale_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch another host's heartbeat for a second only."""
    monkeypatch.setattr(lock_module, "STALE_S", 1.0)
    monkeypatch.setattr(lock_module, "_POLL_S", 0.02)


@contextlib.contextmanager
def beating(path: Path) -> Iterator[None]:
    """Renew the heartbeat of another host's lock, as its process does, whatever its clock says."""
    over = threading.Event()

    def beat() -> None:
        holder = json.loads(path.read_text())
        while not over.wait(0.1):
            holder["heartbeat"] += 5
            path.write_text(json.dumps(holder))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


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
                      r"for \d+ s\. Wait"),
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


@pytest.mark.parametrize("clock_s", [-7200, 0, 7200])
def test_beating_lock_of_another_host_is_respected(path: Path, clock_s: float) -> None:
    """Some mounts keep flock to one host; its clock may be hours off."""
    write_holder(path, host="elsewhere", pid=1, beat_ago_s=clock_s)
    with (
        beating(path),
        pytest.raises(JobInUse, match="by process 1 on host elsewhere"),
        FolderLock(path),
    ):
        pass


@pytest.mark.parametrize("clock_s", [-7200, 0, 7200])
def test_silent_lock_of_another_host_is_taken(path: Path, clock_s: float) -> None:
    """A job that was moved to another host goes on there by itself."""
    write_holder(path, host="elsewhere", pid=1, beat_ago_s=clock_s)
    began = time.monotonic()
    with FolderLock(path):
        assert json.loads(path.read_text())["host"] == HERE
    assert time.monotonic() - began >= 1


def test_claim_of_another_host_is_watched_too(path: Path) -> None:
    """It is all that a start leaves that was killed before its first heartbeat."""
    claim = path.with_name("lock.claim")
    claim.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": 1.0}))
    path.write_text("")
    with FolderLock(path):
        assert json.loads(claim.read_text())["host"] == HERE
    assert not claim.exists()


def test_a_lock_that_was_taken_over_is_noticed(path: Path) -> None:
    """A process that slept for a minute does not write beside the one that took its place."""
    with FolderLock(path) as lock:
        lock.check()
        path.with_name("lock.claim").write_text(
            json.dumps({"host": "elsewhere", "pid": 1, "started": 1.0})
        )
        with pytest.raises(StorageError, match=r"was taken over by another start.*elsewhere"):
            lock.check()
    assert path.with_name("lock.claim").exists()


def test_a_folder_that_was_moved_away_is_noticed(path: Path) -> None:
    """Nothing is made under its old name."""
    root = path.parent.parent
    with FolderLock(path) as lock:
        root.rename(root.with_name("moved"))
        with pytest.raises(StorageError, match="renamed, deleted or unmounted"):
            lock.check()
    assert not root.exists()


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_living_process_of_this_host_is_respected(path: Path) -> None:
    """Its process id says that it lives, however old its heartbeat."""
    write_holder(path, host=HERE, pid=os.getppid(), beat_ago_s=600)
    with pytest.raises(JobInUse, match=f"process {os.getppid()} "), FolderLock(path):
        pass


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_dead_process_of_this_host_is_passed_over(path: Path) -> None:
    """No waiting for its heartbeat to go stale."""
    write_holder(path, host=HERE, pid=dead_pid(), beat_ago_s=1)
    with FolderLock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.usefixtures("no_flock")
def test_without_flock_one_of_many_starts_gets_in(path: Path) -> None:
    """However they interleave: the claim is created exclusively."""
    n_in, gate = [0], threading.Barrier(8)
    refused = []

    def start() -> None:
        gate.wait()
        try:
            with FolderLock(path):
                n_in[0] += 1
                time.sleep(0.5)
        except JobInUse as error:
            refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (n_in[0], len(refused)) == (1, 7)


@pytest.mark.usefixtures("no_flock")
def test_without_flock_one_of_many_takes_over_from_the_dead(path: Path) -> None:
    """A stale claim is deleted once."""
    claim = {"host": HERE, "pid": dead_pid(), "started": 1.0}
    path.with_name("lock.claim").write_text(json.dumps(claim))
    test_without_flock_one_of_many_starts_gets_in(path)


@pytest.mark.usefixtures("no_flock")
def test_a_number_that_another_process_has_by_now_is_no_holder(path: Path) -> None:
    """Numbers of processes are reused, in containers most of all."""
    claim = {"host": HERE, "pid": os.getppid(), "pid_started": 1, "started": 1.0}
    path.with_name("lock.claim").write_text(json.dumps(claim))
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
@settings(max_examples=30, deadline=None)
def test_any_content_of_the_lock_file_is_free_or_in_use(content: Any) -> None:
    """A file that something else wrote is a sentence at worst, never a traceback."""
    lock_module.STALE_S = 0.02  # the fixture puts it back
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "lock"
        path.write_text(json.dumps(content))
        path.with_name("lock.claim").write_text(json.dumps(content))
        with contextlib.suppress(JobInUse), FolderLock(path):
            assert json.loads(path.read_text())["pid"] == os.getpid()


def test_lock_that_cannot_be_written_is_refused(path: Path) -> None:
    """A folder that is not ours to write names the path and a way out."""
    with pytest.raises(FolderError, match=r"lock cannot be written: .*output_root="):
        FolderLock(path.parent / "gone" / "lock").__enter__()


@pytest.mark.parametrize("name", ["lock", "lock.claim", "lock.takeover"])
@pytest.mark.parametrize("kind", ["a link", "a FIFO", "a folder"])
def test_what_is_no_file_in_the_place_of_the_lock_is_refused(
    path: Path, name: str, kind: str
) -> None:
    """A FIFO would be read for ever, and a link to nothing would be looked for again and again."""
    place = path.with_name(name)
    make = {"a link": lambda: place.symlink_to("gone"), "a FIFO": lambda: os.mkfifo(place)}
    make.get(kind, place.mkdir)()
    for enter in (FolderLock(path).__enter__, FolderLock(path).probe):
        with pytest.raises(FolderError, match=rf"{name} is {kind}"):
            enter()


def test_colleagues_of_one_group_can_go_on_with_a_job(path: Path) -> None:
    """The umask says who may write; the lock and its claim take nothing from it."""
    before = os.umask(0o002)
    try:
        with FolderLock(path):
            files = (path, path.with_name("lock.claim"))
            assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o664, 0o664]
    finally:
        os.umask(before)


def test_a_start_that_cannot_write_its_heartbeat_leaves_no_claim(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook the process lives on, and the next start in it would find the folder in use."""

    def pwrite(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", pwrite)
        with pytest.raises(StorageError):
            FolderLock(path).__enter__()
    assert not path.with_name("lock.claim").exists()


def test_probe_finds_the_holder_and_takes_nothing(path: Path) -> None:
    """Looking leaves the folder free."""
    with FolderLock(path), pytest.raises(JobInUse):
        FolderLock(path).probe()
    FolderLock(path).probe()
    with FolderLock(path):
        pass


@pytest.mark.usefixtures("plain_rights")
def test_a_lock_that_may_not_be_looked_at_is_refused(path: Path) -> None:
    """Whether anybody holds it is not known."""
    path.parent.chmod(0)
    for enter in (FolderLock(path).__enter__, FolderLock(path).probe):
        with pytest.raises(FolderError, match="cannot be read: Permission denied"):
            enter()
    path.parent.chmod(0o755)


@pytest.mark.parametrize("name", ["lock", "lock.claim"])
@pytest.mark.usefixtures("plain_rights")
def test_a_probe_of_a_lock_of_somebody_else_is_a_sentence(path: Path, name: str) -> None:
    """Files of another user may be closed to us."""
    path.touch()
    path.with_name(name).touch()
    path.with_name(name).chmod(0)
    with pytest.raises(FolderError, match=rf"{name} cannot be read: Permission denied"):
        FolderLock(path).probe()
