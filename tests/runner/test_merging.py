"""Jobs in shards: made apart, merged, and then the same as a job that was made in one."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeConfig

import batchgen
from batchgen.cli.main import main
from batchgen.errors import FolderError, JobChanged, JobInUse, StorageError
from batchgen.executors.local import LocalExecutor
from batchgen.ledger import adoption
from batchgen.ledger.reader import read_table
from batchgen.ledger.repair import repair
from batchgen.ledger.schema import METADATA
from batchgen.ledger.verification import verify
from batchgen.ledger.writer import Ledger
from batchgen.pipelines.base import Generation
from batchgen.pipelines.fake import FakePipeline
from batchgen.runner import merging
from batchgen.runner.merging import merge
from batchgen.runner.result import JobResult
from batchgen.runner.start import run_job
from batchgen.runner.stopping import Stop
from batchgen.storage.folder import JobFolder
from batchgen.storage.lock import FolderLock

COUNT = 4


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of forty rows, some with steps of their own."""
    path = tmp_path / "t.csv"
    rows = "".join(f"k{n},prompt {n},{8 if n % 5 == 0 else ''},t{n}\n" for n in range(40))
    path.write_text(f"id,prompt,steps,topic\n{rows}")
    return path


@pytest.fixture
def make(fake_config: MakeConfig, table: Path) -> Callable[..., JobResult]:
    """Return a function that makes the job or a shard of it; bytes show the make-up of batches."""

    def make(**settings: Any) -> JobResult:
        model = {"name": "fake", "batch_sensitive": True, **settings.pop("model", {})}
        config = fake_config(table, **{"batch_size": 3, "model": model, **settings})
        return run_job(config, LocalExecutor(), Stop(None))

    return make


@pytest.fixture
def whole(tmp_path: Path) -> JobFolder:
    """The folder of the job."""
    return JobFolder(tmp_path / "outputs" / "t")


def contents(folder: Path) -> tuple[dict[str, bytes], list[Any]]:
    """Return the image files of a job, and its rows but for what two runs may differ in."""
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.glob("images/*/*")}
    columns = [one.name for one in METADATA if one.repeats] + ["topic"]
    return files, read_table(JobFolder(folder)).select(columns).to_pylist()


def test_merged_shards_are_the_job_made_in_one(
    make: Callable[..., JobResult], whole: JobFolder
) -> None:
    """Same files, same rows, nothing left of the shards; and the job is known as finished."""
    reference = contents(make(name="reference").folder)
    made = [make(shard=f"{index}/{COUNT}").n_made for index in range(COUNT)]
    assert sum(made) == 40
    assert max(made) - min(made) <= 6
    assert len(batchgen.read_metadata(whole.root)) == 40
    merged = merge(whole)
    assert list(merged.lines()) == [f"{whole.root}: 4 shards merged, 40 of 40 images"]
    assert contents(whole.root) == reference
    assert not list(whole.root.rglob("shard-*"))
    assert verify(whole).is_clean
    assert make().n_made == 0
    assert make().message == "40 images, all done before"
    assert contents(whole.root) == reference


def test_shards_that_come_late_are_merged_later(
    make: Callable[..., JobResult], whole: JobFolder
) -> None:
    """Unfinished ones too; then one start makes what is left, or a shard does."""
    reference = contents(make(name="reference").folder)
    make(shard="0/4")
    make(shard="1/4", limit=9)
    first = merge(whole)
    assert [str(shard) for shard in first.missing] == ["2/4", "3/4"]
    assert "never merged: 2/4, 3/4" in "\n".join(first.lines())
    make(shard="2/4")
    make(shard="1/4")
    assert merge(whole).n_images < 40
    assert make(shard="1/2").n_made > 0
    merge(whole)
    assert make().n_done == 40
    assert contents(whole.root) == reference
    assert verify(whole).is_clean


class _Killed(BaseException):
    """What a test puts in the place of kill -9."""


def kills() -> Iterator[tuple[str, int]]:
    """Yield the steps of a merge, and which time it is not reached or its end is not."""
    for step in ("bring", "adopt", "retire", "compact", "identity"):
        for time in (1, 2, 3):
            yield step, time


@pytest.mark.parametrize(("step", "time"), [*kills()])
@pytest.mark.parametrize("is_after", [False, True])
def test_a_merge_that_is_killed_goes_on(
    make: Callable[..., JobResult],
    whole: JobFolder,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    time: int,
    is_after: bool,
) -> None:
    """Before or behind any step, the same command ends with the same bytes."""
    for index in range(3):
        make(shard=f"{index}/3")
    reference = contents(make(name="reference").folder)
    owner, name = {
        "bring": (adoption, "_bring"),
        "adopt": (Ledger, "adopt"),
        "retire": (merging, "_retire"),
        "compact": (merging, "compact"),
        "identity": (merging._Merge, "_write_identity"),
    }[step]
    original, calls = getattr(owner, name), iter(range(1, 1000))

    def until_killed(*arguments: Any, **named: Any) -> Any:
        is_now = next(calls) == time
        if is_now and not is_after:
            raise _Killed
        result = original(*arguments, **named)
        if is_now:
            raise _Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, until_killed)
        with contextlib.suppress(_Killed):
            merge(whole)
    if whole.job_json.exists() or whole.shards():
        merge(whole)
        assert not list(whole.parts.iterdir())
    make()
    assert contents(whole.root) == reference
    assert verify(whole).is_clean
    assert not list(whole.root.rglob("shard-*"))


def test_failures_and_suspects_come_along(make: Callable[..., JobResult], whole: JobFolder) -> None:
    """A row that failed for good in a shard is failed in the job, with its attempts."""
    retry = {"max_attempts": 1}
    for index in range(2):
        make(shard=f"{index}/2", model={"fail_rows": [3, 4]}, retry=retry)
    merge(whole)
    assert batchgen.read_metadata(whole.root)["row_key"].nunique() == 38
    result = make(retry=retry)
    assert (result.exit_code, result.n_failed, result.n_made) == (3, 2, 0)
    assert make(retry={"failed": True}).n_done == 40


def test_what_is_not_of_one_job_is_refused(
    make: Callable[..., JobResult], whole: JobFolder, table: Path
) -> None:
    """Other settings and another table; both folders are named, nothing is moved."""
    make(shard="0/2")
    make(shard="1/2", sampling={"steps": 9})
    with pytest.raises(JobChanged, match=r"shard-00-of-02 and .*shard-01-of-02 were made with oth"):
        merge(whole)
    shutil.rmtree(whole.root / "shard-01-of-02")
    table.write_text(table.read_text() + "new,one more,,\n")
    make(shard="1/2")
    with pytest.raises(JobChanged, match="of tables with other content"):
        merge(whole)
    make(shard="0/2")
    assert merge(whole).n_images == 41


def test_images_with_other_pixels_are_refused(
    make: Callable[..., JobResult], whole: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards cut by another count merge where bytes agree, and not where they do not."""
    n_half = make(shard="0/2").n_made
    make(shard="0/4")
    assert merge(whole).n_images == n_half
    make(shard="1/2")
    generate = FakePipeline.generate

    def otherwise(self: FakePipeline, *arguments: Any) -> Generation:
        generation = generate(self, *arguments)
        generation.pictures[0].pixels[0, 0] ^= 1
        return generation

    monkeypatch.setattr(FakePipeline, "generate", otherwise)
    make(shard="1/4")
    with pytest.raises(JobChanged, match="with other settings or other pixels"):
        merge(whole)


def test_a_shard_that_runs_and_a_start_beside_shards_are_refused(
    make: Callable[..., JobResult], whole: JobFolder
) -> None:
    """The whole job waits until it is merged."""
    make(shard="0/2")
    with FolderLock(whole.shards()[0].lock), pytest.raises(JobInUse):
        merge(whole)
    with pytest.raises(FolderError, match=r"lies in shards, 1 so far, .*batchgen merge"):
        make()
    with pytest.raises(FolderError, match="batchgen merge"):
        repair(JobFolder(make(shard="1/2").folder.parent))
    merge(whole)
    assert "0 shards merged, 40 of 40 images" in "\n".join(merge(whole).lines())
    make()
    make(shard="0/2")
    assert merge(whole).missing == []
    with pytest.raises(FolderError, match="no shard in it"):
        merge(JobFolder(make(name="other").folder))


def test_files_that_are_no_shards_and_removed_images_are_kept(
    make: Callable[..., JobResult], whole: JobFolder
) -> None:
    """In .batchgen/removed, under the shard's name."""
    folder = JobFolder(make(shard="0/1").folder)
    (folder.root / "notes.txt").write_text("mine")
    (folder.removed / "x").mkdir(parents=True)
    merge(whole)
    (aside,) = whole.removed.glob("shard-00-of-01-*")
    assert (aside / "notes.txt").read_text() == "mine"
    assert (aside / "removed" / "x").is_dir()


def test_what_is_kept_of_a_shard_is_kept_of_each_that_had_its_name(
    make: Callable[..., JobResult], whole: JobFolder
) -> None:
    """A shard that makes what it lacked is merged once more, and once more."""
    for text in ("first", "second", "third"):
        folder = JobFolder(make(shard="0/1").folder)
        (folder.root / "notes.txt").write_text(text)
        (folder.removed / "x").mkdir(parents=True)
        merge(whole)
    kept = whole.removed.glob("shard-00-of-01-*")
    assert {(place / "notes.txt").read_text() for place in kept} == {"first", "second", "third"}


def test_an_image_whose_file_is_gone_is_made_again(
    make: Callable[..., JobResult], whole: JobFolder
) -> None:
    """Its row is left out, and told."""
    folder = make(shard="0/1").folder
    next(folder.glob("images/*/*")).unlink()
    merged = merge(whole)
    assert (merged.n_images, merged.n_lost) == (39, 1)
    assert "no file for 1 image" in "\n".join(merged.lines())
    assert make().n_made == 1


def test_a_merge_over_two_disks_copies(
    make: Callable[..., JobResult], whole: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file cannot be renamed; a disk that is full leaves the shards as they are."""
    reference = contents(make(name="reference").folder)
    make(shard="0/1")

    def replace(self: Path, target: Path) -> Path:
        if self.suffix == ".png" and not self.name.startswith("."):
            raise OSError(18, "Invalid cross-device link")
        os.rename(self, target)  # noqa: PTH104
        return target

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with patch.context() as full:
            full.setattr(shutil, "copyfileobj", _full)
            with pytest.raises(StorageError, match="No space left"):
                merge(whole)
        merge(whole)
    assert contents(whole.root) == reference


def _full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_points_of_a_grid_lie_in_shards(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each point has its own; `status` and `verify` say how the whole is."""
    (workplace / "t.csv").write_text("prompt\n" + "a cat\n" * 5)
    grid = ["run", "-m", "table=t.csv", "model=fake", "sampling.width=64", "sampling.height=64"]
    for index in range(2):
        assert main([*grid, "sampling.steps=3,4", f"shard={index}/2"]) == 0
    points = [path for path in Path("outputs/t").iterdir() if path.is_dir()]
    assert len(points) == 2
    capsys.readouterr()
    assert main(["status", str(points[0])]) == 0
    assert f"{points[0]}: in 2 shards, 5 of 5 images" in capsys.readouterr().out
    assert main(["verify", str(points[0])]) == 0
    assert capsys.readouterr().out.count("all well") == 2
    for point in points:
        assert main(["merge", str(point)]) == 0
    assert main([*grid, "sampling.steps=3,4"]) == 0
    assert capsys.readouterr().out.count("5 images, all done") == 2
