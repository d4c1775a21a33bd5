"""The promises of design.md, section 2: each test fails when its promise is broken."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import RunJob, StartCommand, WritePrompts

import batchgen
from batchgen.config.models import FakeModel
from batchgen.errors import JobChanged
from batchgen.images import image_file
from batchgen.images.image_file import read_pixels
from batchgen.ledger.schema import METADATA
from batchgen.report.contact_sheets import contact_sheets
from batchgen.storage.folder import JobFolder

WaitUntil = Callable[[Callable[[], object]], None]
VARYING = [column.name for column in METADATA if not column.repeats]
SENSITIVE = FakeModel(batch_sensitive=True)


def pictures(folder: JobFolder) -> dict[str, bytes]:
    """Return the bytes of every file under images/."""
    root = folder.root / "images"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("*/*")}


def metadata(folder: JobFolder) -> pd.DataFrame:
    """Return the metadata of what is committed at this moment."""
    return batchgen.read_metadata(folder.root)


def assert_same_job(folder: JobFolder, other: JobFolder) -> None:
    """Compare two finished jobs: every byte of every image, every value that repeats."""
    ours, theirs = pictures(folder), pictures(other)
    assert [name for name in theirs if ours.get(name) != theirs[name]] == []
    assert set(ours) == set(theirs)
    tables = [pq.read_table(place.metadata) for place in (folder, other)]
    assert tables[0].drop_columns(VARYING).equals(tables[1].drop_columns(VARYING))


def moved(folder: JobFolder, name: str) -> JobFolder:
    """Rename a job's folder, so that another can be made in its place."""
    return JobFolder(folder.root.rename(folder.root.with_name(name)))


@pytest.fixture
def undisturbed(prompts: WritePrompts, run_job: RunJob, folder: JobFolder) -> JobFolder:
    """A job of 60 images at batch 4 that ran through, moved aside."""
    prompts(60)
    assert run_job(model=SENSITIVE, batch_size=4).exit_code == 0
    return moved(folder, "undisturbed")


def test_promise_1_same_job_same_pixels(
    undisturbed: JobFolder, run_job: RunJob, folder: JobFolder
) -> None:
    """In pieces that cut through batches and windows, the images come out as in one go."""
    for limit in (1, 6, 7, 30, 59, None):
        assert run_job(model=SENSITIVE, batch_size=4, limit=limit).exit_code == 0
    assert_same_job(folder, undisturbed)


def test_promise_1_other_batches_are_seen_in_the_metadata(
    undisturbed: JobFolder, run_job: RunJob, folder: JobFolder
) -> None:
    """The fake model makes other pixels in another batch; so would a device."""
    run_job(model=SENSITIVE, batch_size=3)
    before, after = metadata(undisturbed), metadata(folder)
    assert (before["batch_id"] != after["batch_id"]).all()
    assert (before["pixel_sha256"] != after["pixel_sha256"]).any()
    assert (before["fingerprint"] == after["fingerprint"]).all()


@pytest.mark.parametrize(
    ("n_kills", "latency_s"), [(6, 0.03), pytest.param(20, 0.08, marks=pytest.mark.slow)]
)
def test_promise_2_killed_at_any_instant_the_job_ends_with_the_same_bytes(
    undisturbed: JobFolder, start: StartCommand, folder: JobFolder, n_kills: int, latency_s: float
) -> None:
    """`kill -9` at random moments, and the same command again each time."""
    instants = random.Random(n_kills)  # noqa: S311  not a secret
    arguments = ("model.batch_sensitive=true", "batch_size=4", f"model.latency_s={latency_s}")
    n_killed = 0
    while n_killed < n_kills:
        started = start(*arguments)
        time.sleep(instants.uniform(0.05, 0.5))
        n_killed += started.kill() == -signal.SIGKILL
        assert not (folder.job_json.exists() and '"finished"' in folder.job_json.read_text())
    assert start(*arguments[:2]).exit_code() == 0
    assert_same_job(folder, undisturbed)
    assert set(metadata(folder)["attempt"]) == {1}


def test_promise_3_every_row_has_its_image_even_where_a_job_was_killed(
    prompts: WritePrompts, start: StartCommand, folder: JobFolder, wait_until: WaitUntil
) -> None:
    """What is committed has the bytes it says it has."""
    prompts(40)
    started = start("batch_size=4", "model.latency_s=0.03")
    wait_until(lambda: folder.is_job() and len(metadata(folder)) > 4)
    started.kill()
    rows = metadata(folder)
    assert 4 < len(rows) < 40
    for row in rows.to_dict("records"):
        content = (folder.root / str(row["file_name"])).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["file_sha256"]


def test_promise_3_every_image_has_its_row(
    undisturbed: JobFolder,
) -> None:
    """And the pixels its row says it has."""
    rows = metadata(undisturbed)
    assert sorted(rows["file_name"]) == sorted(f"images/{name}" for name in pictures(undisturbed))
    for row in rows.head(5).to_dict("records"):
        pixels = read_pixels(undisturbed.root / str(row["file_name"]))
        assert image_file.pixel_sha256(pixels) == row["pixel_sha256"]


@pytest.mark.parametrize(
    "changed",
    [
        {"sampling": {"steps": 30}},
        {"seed": 1},
        {"batch_size": 2},
        {"images": "webp"},
        {"model": SENSITIVE},
    ],
)
def test_promise_4_nothing_is_mixed_silently(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, changed: dict[str, Any]
) -> None:
    """Settings, batch size, file format or model: the diff names it and nothing is touched."""
    prompts(4)
    run_job()
    before, rows = pictures(folder), metadata(folder)
    prompts(6)
    with pytest.raises(JobChanged, match="holds 4 finished images made with other settings"):
        run_job(**changed)
    assert pictures(folder) == before
    pd.testing.assert_frame_equal(metadata(folder), rows)


def test_promise_5_one_bad_row_never_costs_the_night(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """All others are made, and the bad one is on record."""
    prompts(20)
    result = run_job(model=FakeModel(fail_rows=[7]), batch_size=4)
    assert (result.exit_code, result.n_done) == (3, 19)
    assert pq.read_table(folder.failures)["row_key"].to_pylist() == ["k7"]


def test_promise_5_a_broken_device_does_not_burn_the_whole_table(
    prompts: WritePrompts, run_job: RunJob
) -> None:
    """The job stops, and with a mended device nothing is missing."""
    prompts(40)
    broken = FakeModel(fail_rows=list(range(5, 40)))
    assert run_job(model=broken, batch_size=4).exit_code == 4
    result = run_job(batch_size=4)
    assert (result.exit_code, result.n_done) == (0, 40)


def test_promise_6_out_of_memory_is_a_step_on_a_ladder(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Everything is made, and each image says on which rung."""
    prompts(8)
    assert run_job(model=FakeModel(oom_above_batch=1), batch_size=4).exit_code == 0
    assert set(metadata(folder)["rung"]) == {"slicing,batch=1"}
    assert set(metadata(folder)["batch_size"]) == {1}


def test_promise_7_nothing_black_gets_in(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Black and NaN pictures are failures; what float32 heals is kept, and has colours."""
    prompts(6)
    sick = FakeModel(blank_rows=[1], nan_rows=[2], nan_until_float32=[4])
    assert run_job(model=sick, batch_size=3).exit_code == 3
    assert metadata(folder)["row_index"].tolist() == [0, 3, 4, 5]
    for name in pictures(folder):
        assert len(set(read_pixels(folder.root / "images" / name).ravel().tolist())) > 10


def test_promise_8_memory_stays_flat(
    prompts: WritePrompts, start: StartCommand, folder: JobFolder
) -> None:
    """Kept pictures would add 100 MB between the hundredth image and the last."""
    prompts(500)
    size = ("sampling.width=256", "sampling.height=256")
    assert start(*size, "batch_size=4").exit_code() == 0
    peaks = metadata(folder)["peak_memory_bytes"]
    assert peaks.iloc[-1] - peaks.iloc[100] < 40e6


def test_promise_9_the_device_does_not_wait_for_the_disk(
    prompts: WritePrompts, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making takes 0.8 s and saving, two at a time, as long: side by side, not one by one."""
    save = image_file.save

    def slow(*arguments: Any) -> Any:
        time.sleep(0.08)
        return save(*arguments)

    prompts(20)
    monkeypatch.setattr(image_file, "save", slow)
    began = time.monotonic()
    assert run_job(model=FakeModel(latency_s=0.04)).exit_code == 0
    assert time.monotonic() - began < 1.4


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub, and a cache of our own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")
def test_promise_10_datasets_yields_every_image_with_its_text(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, tmp_path: Path
) -> None:
    """The real library, with words in the job's path that name splits."""
    datasets = pytest.importorskip("datasets")
    prompts(6)
    run_job(name="train and test", model=FakeModel(fail_rows=[2]))
    place = str(folder.root.with_name("train and test"))
    loaded = datasets.load_dataset("imagefolder", data_dir=place, cache_dir=str(tmp_path / "c"))
    assert list(loaded) == ["train"]
    rows = sorted(loaded["train"], key=lambda row: row["row_index"])
    assert [row["text"] for row in rows] == [f"prompt {n}" for n in (0, 1, 3, 4, 5)]
    assert [row["note"] for row in rows] == [f"note {n}" for n in (0, 1, 3, 4, 5)]
    for row in rows:
        path = JobFolder(Path(place)).image_name(row["row_index"], 0, "png")
        assert (read_pixels(Path(place) / path) == row["image"]).all()


@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("has_card", [True, False])
def test_promise_10_contact_sheets_are_no_part_of_the_dataset(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, tmp_path: Path, has_card: bool
) -> None:
    """By its folder and as an ImageFolder, with the card or without, there are the rows only."""
    datasets = pytest.importorskip("datasets")
    prompts(3)
    run_job()
    assert len(list(contact_sheets(folder))) == 1
    if not has_card:
        folder.card.unlink()
    place, cache = str(folder.root), str(tmp_path / "c")
    plain = datasets.load_dataset(place, split="train", cache_dir=cache)
    imagefolder = datasets.load_dataset("imagefolder", data_dir=place, cache_dir=cache)
    assert list(imagefolder) == ["train"]
    for loaded in (plain, imagefolder["train"]):
        assert sorted(loaded["text"]) == ["prompt 0", "prompt 1", "prompt 2"]
        assert {image.size for image in loaded["image"]} == {(64, 64)}


@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore")
def test_promise_10_the_card_loads_the_dataset_too(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, tmp_path: Path
) -> None:
    """As after an upload to a hub, where README.md says what is data."""
    datasets = pytest.importorskip("datasets")
    prompts(3)
    run_job()
    loaded = datasets.load_dataset(str(folder.root), split="train", cache_dir=str(tmp_path / "c"))
    assert sorted(loaded["text"]) == ["prompt 0", "prompt 1", "prompt 2"]
    assert loaded[0]["image"].size == (64, 64)


def test_promise_10_pandas_and_duckdb_read_the_metadata(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """By the path of the file."""
    duckdb = pytest.importorskip("duckdb")
    prompts(3)
    run_job()
    assert pd.read_parquet(folder.metadata)["text"].tolist() == ["prompt 0", "prompt 1", "prompt 2"]
    query = f"select note, seed, created_at from '{folder.metadata}' where width = 64"  # noqa: S608
    assert [row[0] for row in duckdb.sql(query).fetchall()] == ["note 0", "note 1", "note 2"]


def test_promise_10_every_png_holds_its_parameters(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """Viewers of generated images read this text."""
    prompts(2)
    run_job()
    text = image_file.parameters_of(folder.root / folder.image_name(1, 0, "png"))
    assert text is not None
    assert text.startswith("prompt 1\nSteps: 20, Sampler: Euler, CFG scale: 7.5, Seed: ")
    assert f"Seed: {metadata(folder)['seed'][1]}" in text


@pytest.mark.parametrize("n_rounds", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_of_two_starts_at_once_one_runs_and_one_is_refused(
    prompts: WritePrompts, start: StartCommand, folder: JobFolder, n_rounds: int
) -> None:
    """In a folder that neither has seen before; nothing is damaged."""
    prompts(6)
    for _ in range(n_rounds):
        both = [start("model.latency_s=0.15"), start("model.latency_s=0.15")]
        assert sorted(started.exit_code() for started in both) == [0, 2], (
            both[1].said + both[0].said
        )
        refused = next(started for started in both if started.process.exitcode == 2)
        assert "is in use by process" in refused.said
        assert "Traceback" not in refused.said
        assert metadata(folder)["row_index"].tolist() == list(range(6))
        assert len(pictures(folder)) == 6
        shutil.rmtree(folder.root)
