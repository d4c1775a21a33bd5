"""The folder where images go, tested in a temporary folder in it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from batchgen.config import shell
from batchgen.config.counts import counted
from batchgen.config.decimals import size_text
from batchgen.config.job import JobConfig
from batchgen.config.paths import absence
from batchgen.doctor.check import Check, failed, ok, warning
from batchgen.errors import StorageError
from batchgen.runner.disk_space import needed_bytes
from batchgen.storage.atomic import existing_parent, write_atomically
from batchgen.storage.folder import JobFolder, is_dangling

SLOW_MS = 50.0
"""A sync above this costs more than the picture it guards on a fast device."""

_SYNCS = 5
_FEW_IMAGES = 1000
_ELSEWHERE = "output_root=/another/disk/outputs"


def checks(config: JobConfig) -> Iterator[Check]:
    """Yield whether a job can write safely below `output_root`."""
    root = Path(config.output_root)
    place = Path(os.path.realpath(root))
    try:
        if is_dangling(root):
            yield failed("output folder", f"{root} {absence(root)}", _ELSEWHERE)
            return
        if place.exists() and not place.is_dir():
            yield failed("output folder", f"{place} is a file", _ELSEWHERE)
            return
        place = existing_parent(place)
        with tempfile.TemporaryDirectory(prefix=".batchgen-doctor-", dir=place) as name:
            yield ok("output folder", f"{place} can be written")
            yield from _trials(Path(name))
    except OSError as error:
        yield failed("output folder", f"{place}: {error.strerror}", _ELSEWHERE)
        return
    yield _space(config, place)


def _trials(folder: Path) -> Iterator[Check]:
    yield _locks(folder / "lock")
    yield _rename_and_sync(folder)


def _rename_and_sync(folder: Path) -> Check:
    name = "rename and sync"
    try:
        times_ms = [_sync_ms(folder / f"{number}.bin") for number in range(_SYNCS)]
        write_atomically(folder / "0.bin", b"new")
        is_new = (folder / "0.bin").read_bytes() == b"new"
    except StorageError as error:
        return failed(name, str(error), _ELSEWHERE)
    if not is_new:
        return failed(name, "a file keeps its old content when it is replaced", _ELSEWHERE)
    sync_ms = statistics.median(times_ms)
    finding = f"atomic; writing and syncing 1 MiB takes {sync_ms:.1f} ms"
    return ok(name, finding) if sync_ms <= SLOW_MS else warning(name, finding, _ELSEWHERE)


def _locks(path: Path) -> Check:
    """Whether flock keeps a second one out."""
    first, second = (os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(2))
    try:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ok("locks", "flock works")
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "an error")
        finding = f"flock answers {name}: a heartbeat guards the folder instead"
        return warning("locks", finding, f"start a job once only, or {_ELSEWHERE}")
    finally:
        os.close(first)
        os.close(second)
    return warning("locks", "flock lets two in", f"start a job once only, or {_ELSEWHERE}")


def _sync_ms(path: Path) -> float:
    started = time.perf_counter()
    write_atomically(path, bytes(2**20))
    return (time.perf_counter() - started) * 1000


def _space(config: JobConfig, place: Path) -> Check:
    free = shutil.disk_usage(place).free
    n_images = int(free / needed_bytes(JobFolder(config.folder), config, 1))
    finding = f"{size_text(free)} free, about {counted(n_images, 'image')}"
    if n_images < _FEW_IMAGES:
        return warning(
            "free space", finding, f"{shell.command('df', '-h', place)}; or {_ELSEWHERE}"
        )
    return ok("free space", finding)
