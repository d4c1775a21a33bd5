"""Whole or not at all: what goes on, what is refused, what is damaged."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import RunJob
from exports import Ask, files

from batchgen.cli.main import main
from batchgen.errors import ConfigError, FolderError, ImagesDamaged, JobInUse, Stopped, StorageError
from batchgen.export import building, exporting, handover, samples
from batchgen.export.layouts import LAYOUTS, Layout
from batchgen.ledger.repair import repair
from batchgen.storage.hashes import sha256

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

PLAIN = ["webdataset", "parquet", "imagefolder", "flat", "t2i-compbench", "dpg-bench"]
"""Layouts that a table without columns of its own can have."""


@pytest.fixture
def four(run_job: RunJob, ask: Ask) -> Ask:
    """Export a job that all plain layouts can hold: four images a row."""
    run_job(images_per_prompt=4)
    return ask


def export_slowly(ask: Ask, layout: str) -> None:
    """Export, a hundredth of a second an image, noting each; two images a file."""
    read = samples._read
    largest = max(path.stat().st_size for path in ask.job.images.rglob("*.png"))

    def reading(entry: Any) -> Any:
        time.sleep(0.01)
        return read(entry)

    samples._read, samples._N_READERS = reading, 1
    handover.FILE_BYTES, handover._KEEP_S = 2 * largest, 0
    ask(layout)


def n_noted(out: Path) -> int:
    """Return how many images are noted as laid out, -1 before there is a note."""
    note = building.note_of(building.partial_of(out))
    return -1 if note is None else int(note["n_images"])


@pytest.mark.parametrize("layout", PLAIN)
def test_killed_at_any_time_the_same_question_goes_on(
    four: Ask,
    layout: str,
    monkeypatch: pytest.MonkeyPatch,
    forkserver: ForkServerContext,
    wait_until: Callable[[Callable[[], object]], None],
) -> None:
    """What comes out is what a start that was never killed makes, to the byte."""
    largest = max(path.stat().st_size for path in four.job.images.rglob("*.png"))
    monkeypatch.setattr(handover, "FILE_BYTES", 2 * largest)
    whole = Ask(four.job, four.out.with_name("whole"))
    whole(layout)
    for n_images in (0, 4, 9):
        process = forkserver.Process(target=export_slowly, args=(four, layout))
        process.start()
        wait_until(lambda least=n_images: n_noted(four.out) >= least)  # type: ignore[misc]
        time.sleep(0.015)  # into the next file
        assert not four.out.exists()
        process.kill()
        process.join()
        process.close()
    four(layout)
    assert files(four.out) == files(whole.out)
    assert not building.partial_of(four.out).exists()


def test_what_is_on_disk_is_not_read_again(four: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a shard that is whole."""
    largest = max(path.stat().st_size for path in four.job.images.rglob("*.png"))
    monkeypatch.setattr(handover, "FILE_BYTES", 4 * largest)
    last = four.job.root / four.job.image_name(3, 3, "png")
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(ImagesDamaged):
        four("webdataset")
    last.write_bytes(content)
    done = four("webdataset")
    assert (done.n_images, done.n_made) == (16, 4)


def test_a_kill_while_only_tidying_is_left_costs_nothing(ask: Ask) -> None:
    """The folder is there; the same command says so, another one is refused."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            ask("flat")
    with pytest.raises(FolderError, match="exported is there already"):
        ask("webdataset")
    assert (ask("flat").n_images, len(list(ask.out.glob("*.png")))) == (8, 8)
    assert not building.partial_of(ask.out).exists()


def test_damaged_and_missing_pictures_are_all_named(
    ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with 3, and nothing is at the place."""
    job = ask.job
    names = [job.image_name(n, 0, "png") for n in range(3)]
    (job.root / names[0]).unlink()
    with (job.root / names[1]).open("ab") as file:
        file.write(b"x")
    (job.root / names[2]).unlink()
    os.mkfifo(job.root / names[2])
    assert main(["export", str(job.root), "--to", "flat", str(ask.out)]) == 3
    said = capsys.readouterr().err
    assert f"{names[0]} (id 'k0-0'): missing" in said
    assert f"{names[1]} (id 'k1-0'): other bytes than written" in said
    assert f"{names[2]} (id 'k2-0'): is not a file" in said
    assert "Damaged or missing: 3. Nothing was exported." in said
    assert not ask.out.exists()


def test_after_a_repair_the_same_command_makes_all(ask: Ask, run_job: RunJob) -> None:
    """The images are other rows now, so it begins anew by itself."""
    (ask.job.root / ask.job.image_name(1, 1, "png")).unlink()
    with pytest.raises(ImagesDamaged):
        ask("imagefolder")
    repair(ask.job)
    run_job(images_per_prompt=2)
    assert ask("imagefolder").n_images == 8


def test_another_question_is_refused_with_what_differs(ask: Ask) -> None:
    """Neither what is there nor what was begun is replaced."""
    (ask.job.root / ask.job.image_name(3, 1, "png")).unlink()
    with pytest.raises(ImagesDamaged):
        ask("flat")
    with pytest.raises(FolderError, match="layout was 'flat', is 'webdataset'"):
        ask("webdataset")
    with pytest.raises(FolderError, match="where was None, is 'seed > 1'"):
        ask("flat", where="seed > 1")
    ask.out.mkdir()
    with pytest.raises(FolderError, match="exported is there already"):
        ask("flat")


def test_what_export_did_not_begin_is_left_alone(ask: Ask) -> None:
    """A folder that happens to have the name."""
    partial = building.partial_of(ask.out)
    partial.mkdir()
    (partial / "thesis.tex").write_text("x")
    with pytest.raises(FolderError, match="was not begun by batchgen export"):
        ask("flat")
    assert (partial / "thesis.tex").exists()


def test_of_two_at_once_one_is_refused(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the other works, and when it is done before this one begins."""

    def look(survey: exporting._Survey) -> None:
        with pytest.raises(
            JobInUse, match=r"exported is in use by process .* or choose another OUT\."
        ):
            ask("flat")
        _look(survey)

    def meanwhile(*given: Any) -> None:
        monkeypatch.setattr(exporting._Survey, "refuse_misfits", refuse_misfits)
        ask("flat")
        refuse_misfits(*given)

    _look, refuse_misfits = exporting._Survey.look, exporting._Survey.refuse_misfits
    monkeypatch.setattr(exporting._Survey, "look", look)
    monkeypatch.setattr(exporting._Survey, "refuse_misfits", meanwhile)
    with pytest.raises(FolderError, match="exported is there already"):
        ask("flat")
    assert len(list(ask.out.glob("*.png"))) == 8
    assert not building.partial_of(ask.out).exists()


def test_a_place_inside_the_job_is_refused(ask: Ask) -> None:
    """What is in a job's folder is the job's."""
    ask.out = ask.job.root / "images" / "more"
    with pytest.raises(FolderError, match=r"which is read\. Choose an OUT elsewhere"):
        ask("flat")


def test_a_job_that_changes_meanwhile_stops_it(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies there would be of two jobs."""
    flat = LAYOUTS["flat"]

    def changing(given: handover.Handover) -> None:
        flat.lay_out(given)
        ask.job.metadata.unlink()

    changed = Layout(changing)
    monkeypatch.setitem(LAYOUTS, "flat", changed)
    with pytest.raises(Stopped, match="changed while it was exported"):
        ask("flat")
    assert not ask.out.exists()


@pytest.mark.usefixtures("plain_rights")
def test_a_place_that_cannot_be_written_is_refused(ask: Ask, tmp_path: Path) -> None:
    """It names the cure."""
    (tmp_path / "sealed").mkdir(mode=0o500)
    ask.out = tmp_path / "sealed" / "out"
    with pytest.raises(FolderError, match=r"cannot be written: .* Choose another OUT"):
        ask("flat")


@pytest.mark.parametrize("layout", PLAIN)
def test_a_full_disk_is_said_and_the_same_command_goes_on(
    four: Ask, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 75, with the free space."""
    n_calls = iter(range(100))

    def full(path: Path, content: bytes) -> int:
        if next(n_calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return _write_bytes(path, content)

    def full_fsync(number: int) -> None:
        if next(n_calls) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _fsync(number)

    _write_bytes, _fsync = Path.write_bytes, os.fsync
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        patch.setattr(os, "fsync", full_fsync)
        with pytest.raises(StorageError, match=r"No space left on device; .* bytes are free"):
            four(layout)
    assert not four.out.exists()
    assert four(layout).n_images == 16


def test_too_little_room_is_said_before_anything_is_written(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after hours."""
    usage = shutil.disk_usage(ask.out.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StorageError, match=r"8 images have .*, and 1000 bytes are free"):
        ask("flat")


def test_options_that_a_layout_has_not_are_refused(ask: Ask) -> None:
    """All at once, with the layouts that have them."""
    with pytest.raises(ConfigError) as refused:
        ask("dpg-bench", link=True, columns=["seed"])
    assert "these do: imagefolder, flat, t2i-compbench" in refused.value.problems[0]
    assert "no columns of one's choice" in refused.value.problems[1]
    with pytest.raises(ConfigError, match="'zip' is no layout; there are: webdataset, parquet"):
        ask("zip")


def test_links_that_the_file_system_has_not_are_said(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as to another disk; a retry would not help."""

    def other_disk(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", other_disk)
    with pytest.raises(FolderError, match=r"Invalid cross-device link\. Leave out --link"):
        ask("flat", link=True)


def test_an_export_changes_nothing_in_the_job(four: Ask) -> None:
    """It only reads."""
    before = {path: sha256(path) for path in four.job.root.rglob("*") if path.is_file()}
    for layout in PLAIN:
        Ask(four.job, four.out.with_name(layout))(layout)
    after = {path: sha256(path) for path in four.job.root.rglob("*") if path.is_file()}
    assert after == before


def test_the_command_says_what_it_made(
    ask: Ask, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place, how many images, the layout and the rate."""
    monkeypatch.chdir(ask.out.parent)
    command = ["export", str(ask.job.root), "--to", "webdataset", "shards"]
    assert main([*command, "--columns", "text,seed", "--where", "image_index = 0"]) == 0
    assert capsys.readouterr().out.startswith("shards: 4 images as webdataset, ")
