"""Does `batchgen verify` see a flipped bit? `python -m tools.bit_flips --count 1000 --seed 1`.

Makes a finished and an interrupted job of the fake model, then flips one random bit after another
in their metadata.parquet, parts and journals, looks, and puts the bit back. Each look happens in a
process of its own kind, since damage may end a reader.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from enum import Enum
from pathlib import Path
from typing import Any

from tqdm import tqdm

_N_ROWS = 8
_LIMIT_S = 60
"""A look that takes longer hangs: SIGALRM ends its process."""
_JOB = (
    "run", "table=t.csv", "output_root=.", "model=fake", "model.latency_s=0.05",
    "model.fail_rows=[1]", "sampling.width=64", "sampling.height=64",
)  # fmt: skip
_USED = ("pandas", "batchgen.cli.compose", "batchgen.runner.start", "batchgen.pipelines.fake")


class Fate(str, Enum):
    """What came of a flipped bit."""

    found = "found"
    """`verify` names it, or the folder is refused."""
    harmless = "harmless"
    """All values read back as they were."""
    silent = "silent"
    """Other values are read, and `verify` says that all is well."""
    crashed = "crashed"
    """`verify` or the reading ends in a traceback, a signal or never."""


class Looks:
    """Calls functions in another process, which may die of it."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, *_USED])
        self._pool = ProcessPoolExecutor(1, self._context)

    def call(self, function: Any, *arguments: Any) -> Any:
        """Return what a function returns, None where its process dies."""
        future: Future[Any] = self._pool.submit(_limited, function, *arguments)
        try:
            return future.result()
        except BrokenProcessPool:
            self._pool.shutdown()
            self._pool = ProcessPoolExecutor(1, self._context)
            return None

    def close(self) -> None:
        """End the other process."""
        self._pool.shutdown()


def _limited(function: Any, *arguments: Any) -> Any:
    signal.alarm(_LIMIT_S)
    try:
        return function(*arguments)
    finally:
        signal.alarm(0)


def start(place: Path, *overrides: str) -> int:
    """Be a start of a job below `place`; nothing is said."""
    from batchgen.cli.main import main

    tqdm.set_lock(threading.RLock())  # its own is a semaphore that a process that dies leaves
    nothing = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nothing, descriptor)
    os.chdir(place)
    return main([*_JOB, *overrides])


def values_of(root: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return all rows of a job, and what its ledger knows besides."""
    from batchgen.ledger.contents import read_contents
    from batchgen.ledger.reader import read_table
    from batchgen.storage.folder import JobFolder

    folder = JobFolder(root)
    return read_table(folder).to_pylist(), read_contents(folder).state.as_json()


def look(root: Path, expected: object) -> tuple[Fate, str]:
    """Return what `verify` and the readers make of a folder, and the error behind a crash."""
    from batchgen.errors import BatchgenError
    from batchgen.ledger.verification import verify
    from batchgen.storage.folder import JobFolder

    logging.disable()
    try:
        if not verify(JobFolder(root)).is_clean:
            return Fate.found, ""
        is_same = values_of(root) == expected
    except BatchgenError:
        return Fate.found, ""
    except Exception as error:  # a traceback, whatever it is, is what is counted
        return Fate.crashed, f"{type(error).__name__}: {error}"
    return (Fate.harmless if is_same else Fate.silent), ""


def clear(root: Path) -> None:
    """Remove what a killed start left behind, which the next one would clear."""
    from batchgen.ledger.verification import verify
    from batchgen.storage.folder import JobFolder

    for path in verify(JobFolder(root)).orphans:
        path.unlink()


def make_jobs(place: Path, looks: Looks) -> dict[str, list[Path]]:
    """Make a finished and an interrupted job below `place`; return their files by kind.

    The interrupted one died twice: what the first start had committed became a part in the second.
    All is well with both, or no flip would tell anything.
    """
    rows = [f"k{n},prompt {n},{n / 7},note {n}\n" for n in range(_N_ROWS)]
    (place / "t.csv").write_text("id,prompt,score,note\n" + "".join(rows))
    looks.call(start, place, "name=finished")
    looks.call(start, place, "name=interrupted", "limit=3")
    for row in (5, 7):
        looks.call(start, place, "name=interrupted", f"model.crash_rows=[{row}]")
    looks.call(clear, place / "interrupted")
    hidden = place / "interrupted" / ".batchgen"
    return {
        "metadata.parquet": sorted(place.glob("*/metadata.parquet")),
        "part": sorted(hidden.glob("parts/*.parquet")),
        "journal": sorted(hidden.glob("journals/*.jsonl")),
    }


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file; a second time puts it back."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def fates(place: Path, count: int, seed: int) -> dict[str, Counter[Fate]]:
    """Flip `count` bits below `place`, an empty folder, and count what came of them by file kind.

    The kinds take turns; file and bit are random.
    """
    looks, chance = Looks(), random.Random(seed)
    files = make_jobs(place, looks)
    expected = {name: looks.call(values_of, place / name) for name in ("finished", "interrupted")}
    for name, values in expected.items():
        fate, error = looks.call(look, place / name, values)
        if fate is not Fate.harmless:
            raise RuntimeError(f"{name}, of which no bit is flipped yet, is {fate.value} {error}")
    found: dict[str, Counter[Fate]] = {kind: Counter() for kind in files}
    for number in range(count):
        kind = list(files)[number % len(files)]
        path = chance.choice(files[kind])
        bit = chance.randrange(8 * path.stat().st_size)
        name = path.relative_to(place).parts[0]
        flip(path, bit)
        seen = looks.call(look, place / name, expected[name])
        fate, error = seen or (Fate.crashed, "the process died")
        flip(path, bit)
        found[kind][fate] += 1
        if fate in (Fate.silent, Fate.crashed):
            sys.stderr.write(f"{fate.value}: {path.relative_to(place)}, bit {bit} {error}\n")
    looks.close()
    return found


def main() -> int:
    """Print a table of fates; return 1 where one was silent or a crash."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = fates(Path(place), options.count, options.seed)
    print(f"{'':16} {'flips':>8}", *(f"{fate.value:>8}" for fate in Fate))
    for kind, counts in found.items():
        print(f"{kind:16} {counts.total():8}", *(f"{counts[fate]:8}" for fate in Fate))
    bad = sum(counts[fate] for counts in found.values() for fate in (Fate.silent, Fate.crashed))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
