"""What the tests of several rooms share: tables in `tmp_path` and small jobs of the fake model."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exports import Ask

import batchgen
from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.job import JobConfig
from batchgen.config.models import DemoModel
from batchgen.config.names import config_from
from batchgen.config.settings import Settings
from batchgen.ledger.records import Record
from batchgen.ledger.schema import METADATA, schema
from batchgen.ledger.writer import Ledger
from batchgen.pipelines.factory import load
from batchgen.plan.requests import ImageRequest
from batchgen.runner.result import JobResult
from batchgen.storage.folder import JobFolder

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

    from batchgen.pipelines.mindspore.sdxl import SdxlPipeline


def pytest_configure() -> None:
    """Give each of several test processes a core of its own, where there are enough.

    MindSpore's threads wait by spinning: beside another load on the same core all becomes slow.
    """
    cores = sorted(os.sched_getaffinity(0))
    n_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
    if 1 < n_workers <= len(cores):
        number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
        os.sched_setaffinity(0, {cores[number]})


class WriteTable(Protocol):
    """Writes a table and returns its path."""

    def __call__(self, text: str, name: str = "t.csv") -> Path:
        """Write `text` to a file of this name in `tmp_path`."""


class MakeConfig(Protocol):
    """Makes the config of a small, fast job."""

    def __call__(self, table: str | Path = "t.csv", **settings: Any) -> JobConfig:
        """Take what `batchgen.run` takes, on top of the fake model at 64 x 64."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and working folder of its own, with none of the hubs' variables set."""
    for name in ("MODELSCOPE_CACHE", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BATCHGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write_table(tmp_path: Path) -> WriteTable:
    """Return a function that writes a table into `tmp_path`."""

    def write(text: str, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8", newline="")
        return path

    return write


@pytest.fixture
def fake_config(tmp_path: Path) -> MakeConfig:
    """Return a function that makes the config of a job of the fake model below `tmp_path`."""

    def make(table: str | Path = "t.csv", **settings: Any) -> JobConfig:
        sampling = {"width": 64, "height": 64, **settings.pop("sampling", {})}
        base = {"model": "fake", "output_root": str(tmp_path / "outputs"), "sampling": sampling}
        return config_from({"table": str(table), **base, **settings})

    return make


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return `tmp_path`, made the working directory, with a table t.csv of three prompts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("id,prompt\na,a cat\nb,a dog\nc,a bird\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def plain_rights() -> Iterator[None]:
    """Let the permissions of files hold for root, too: without what Linux calls capabilities."""
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, of this thread: capset(2)
    before = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    without = (ctypes.c_uint32 * 6)(*before)
    without[0] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, without) == 0
    yield
    assert libc.capset(header, before) == 0


class WritePrompts(Protocol):
    """Writes a small table and returns its path."""

    def __call__(self, n_rows: int = 8, **changed: str) -> Path:
        """Write t.csv: keys k0, k1, ..., prompts `prompt 0`, ... but for those in `changed`."""


class RunJob(Protocol):
    """Runs a small job in this process."""

    def __call__(self, **settings: Any) -> JobResult:
        """Run the job of `fake_config` over t.csv, in outputs/t."""


class Started:
    """A `batchgen run` in a process of its own."""

    def __init__(self, process: ForkServerProcess, output: Path) -> None:
        """Take a process that has been started and the file of its words."""
        self.process = process
        self._output = output

    @property
    def said(self) -> str:
        """All it wrote to the terminal so far."""
        return self._output.read_text() if self._output.exists() else ""

    def exit_code(self) -> int:
        """Wait for the end; minus the number of a signal that killed it."""
        self.process.join(60)
        assert self.process.exitcode is not None, "still running after a minute"
        return self.process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send a signal, where there still is someone to get it."""
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, number)

    def kill(self) -> int:
        """`kill -9`, and return the exit code."""
        self.send(signal.SIGKILL)
        return self.exit_code()


class StartCommand(Protocol):
    """Starts `batchgen run` in a process of its own."""

    def __call__(self, *overrides: str) -> Started:
        """Run the job of `run_job`, with these overrides added."""


@pytest.fixture
def prompts(write_table: WriteTable) -> WritePrompts:
    """Return a function that writes a table of numbered prompts, with a column to carry."""

    def write(n_rows: int = 8, **changed: str) -> Path:
        rows = [f"k{n},{changed.get(f'k{n}', f'prompt {n}')},note {n}\n" for n in range(n_rows)]
        return write_table("id,prompt,note\n" + "".join(rows))

    return write


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    """The folder of the job that `run_job` and `start` work at."""
    return JobFolder(tmp_path / "outputs" / "t")


@pytest.fixture
def run_job(tmp_path: Path, fake_config: MakeConfig) -> RunJob:
    """Return a function that runs the small job in this process."""

    def run(**settings: Any) -> JobResult:
        table = settings.pop("table", tmp_path / "t.csv")
        return batchgen.run(fake_config(table, **settings))

    return run


@pytest.fixture
def pair_job(prompts: WritePrompts, run_job: RunJob, folder: JobFolder) -> JobFolder:
    """Return a finished job of four rows with two images each."""
    prompts(4)
    run_job(images_per_prompt=2)
    return folder


@pytest.fixture
def ask(pair_job: JobFolder, tmp_path: Path) -> Ask:
    """Return a function that exports the job of `pair_job` to the folder `exported`."""
    return Ask(pair_job, tmp_path / "exported")


def _be_the_command(arguments: list[str], output: Path) -> None:
    """Be the command line, with both streams in a file."""
    from batchgen.cli.main import main

    with output.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(main(arguments))


@pytest.fixture(scope="session")
def forkserver() -> ForkServerContext:
    """Return what starts processes: they are forked from one that has imported batchgen alone.

    So a start takes a moment, and a crash takes nobody with it.
    """
    context = multiprocessing.get_context("forkserver")
    parts = ("cli", "compose", "runner.start", "pipelines.fake")
    context.set_forkserver_preload(["pytest", "pandas", *(f"batchgen.{part}" for part in parts)])
    return context


@pytest.fixture
def start(tmp_path: Path, forkserver: ForkServerContext) -> Iterator[StartCommand]:
    """Return a function that starts the small job in a process of its own."""
    given = [f"table={tmp_path / 't.csv'}", f"output_root={tmp_path / 'outputs'}", "model=fake"]
    given += ["sampling.width=64", "sampling.height=64"]
    starts: list[Started] = []

    def begin(*overrides: str) -> Started:
        output = tmp_path / f"start-{len(starts)}.txt"
        said = {override.partition("=")[0] for override in overrides}
        own = [one for one in given if one.partition("=")[0] not in said]
        arguments = ["run", *own, *overrides]
        process = forkserver.Process(target=_be_the_command, args=(arguments, output))
        process.start()
        starts.append(Started(process, output))
        return starts[-1]

    yield begin
    for started in starts:
        started.kill()
        started.process.close()


def _wait_until(holds: Callable[[], object], timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], None]:
    """Return a function that waits until something holds, and fails when it does not."""
    return _wait_until


class OpenLedger(Protocol):
    """Opens the ledger of a folder, as a start of the job does."""

    def __call__(self, run_id: str = "r1", *, place: JobFolder | None = None) -> Ledger:
        """Open the one of the fixture `folder`, unless `place` is another."""


def ledger_row(n: int, image_index: int = 0, *, made: int = 1, **carried: Any) -> Record:
    """Return the least of a row that the ledger needs; `made` tells remakes of an image apart."""
    return {
        "row_key": f"k{n}",
        "row_index": n,
        "image_index": image_index,
        "file_name": f"images/{n // 10_000:05d}/{n:09d}-{image_index}.png",
        "fingerprint": f"{made:016x}",
        "environment": "here",
        "carried": carried,
    }


@pytest.fixture
def open_ledger(folder: JobFolder) -> OpenLedger:
    """Return a function that opens a ledger whose table has a column `note`."""
    to_schema = schema(METADATA, pa.schema([("note", pa.string())]))

    def open_(run_id: str = "r1", *, place: JobFolder | None = None) -> Ledger:
        at = place or folder
        at.create()
        return Ledger(at, run_id, to_schema)

    return open_


def write_part(folder: JobFolder, run_id: str, rows: list[Record], **carried: Any) -> None:
    """Commit rows of a table that has these columns of its own, and close the ledger."""
    folder.create()
    ledger = Ledger(folder, run_id, schema(METADATA, pa.schema(list(carried.items()))))
    ledger.commit(rows)
    ledger.close()


def places(table: pa.Table) -> list[tuple[int, int]]:
    """Return row and image index of each row of a table."""
    return [(row["row_index"], row["image_index"]) for row in table.to_pylist()]


def image_of(n: int, *, is_pending: bool = True, width: int = 64) -> ImageRequest:
    """Return the first image of row n, 64 pixels high."""
    settings = Settings(
        prompt=f"prompt {n}",
        prompt_2=None,
        negative_prompt="",
        seed=n,
        steps=20,
        guidance_scale=7.5,
        width=width,
        height=64,
        scheduler="euler",
    )
    return ImageRequest(
        row_key=f"k{n}",
        row_index=n,
        image_index=0,
        settings=settings,
        fingerprint=f"{n:016x}",
        number=n,
        is_pending=is_pending,
        carried={},
    )


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SdxlPipeline]:
    """The demo model on real MindSpore, loaded once for all tests."""
    from batchgen.pipelines.mindspore.sdxl import SdxlPipeline

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCHGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        loaded = load(DemoModel(), DeviceConfig(), DeviceKind.cpu)
        assert isinstance(loaded, SdxlPipeline)
        yield loaded


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary of CLIP's kind: all bytes, and `cat` and `red` in one token each."""
    from transformers.models.clip.tokenization_clip import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    merges = ["r e", "re d</w>", "c a", "ca t</w>"]
    names = [*letters, *(f"{letter}</w>" for letter in letters)]
    names += [pair.replace(" ", "") for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.json").write_text(json.dumps({name: n for n, name in enumerate(names)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    return folder


OF_THE_MOMENT = (
    "warm_up", "latency_s", "encode_s", "denoise_s", "decode_s", "peak_memory_bytes", "attempt",
    "run_id", "created_at",
)  # fmt: skip
"""Columns that differ between two runs that make the same."""


def content(folder: JobFolder) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Return all files of a job's images, and the columns that do not depend on the moment."""
    files = {
        str(path.relative_to(folder.root)): path.read_bytes()
        for path in folder.images.rglob("*")
        if path.is_file()
    }
    return files, pq.read_table(folder.metadata).drop_columns([*OF_THE_MOMENT]).to_pylist()
