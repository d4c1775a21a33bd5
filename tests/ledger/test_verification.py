"""`batchgen verify`, and the repair of what it finds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import pytest
from conftest import RunJob, StartCommand, WritePrompts

from batchgen.cli.main import main
from batchgen.errors import FolderError
from batchgen.ledger import repair as repair_module
from batchgen.ledger.repair import repair
from batchgen.ledger.verification import verify
from batchgen.storage.folder import JobFolder
from batchgen.storage.lock import FolderLock


@pytest.fixture
def job(prompts: WritePrompts, run_job: RunJob, folder: JobFolder) -> JobFolder:
    """Return a finished job of four images."""
    prompts(4)
    run_job()
    return folder


def image(job: JobFolder, row: int) -> str:
    """Return the path of a row's image in the folder."""
    return job.image_name(row, 0, "png")


def test_a_whole_job_is_clean(job: JobFolder) -> None:
    """Every row has its bytes, every image its row."""
    findings = verify(job)
    assert findings.is_clean
    assert list(findings.lines()) == ["4 images, all well"]


def test_missing_altered_and_orphaned_images_are_named(job: JobFolder) -> None:
    """Nothing is changed by looking."""
    (job.root / image(job, 0)).unlink()
    with (job.root / image(job, 1)).open("ab") as file:
        file.write(b"x")
    orphan = job.root / "images/00000/000000099-0.png"
    orphan.write_bytes(b"x")
    findings = verify(job)
    assert [name for _, name in findings.missing] == [image(job, 0)]
    assert [name for _, name in findings.altered] == [image(job, 1)]
    assert findings.orphans == [orphan]
    assert orphan.exists()


def test_repair_makes_room_for_the_next_start(job: JobFolder, run_job: RunJob) -> None:
    """What was missing or altered is made again, what has no row is put aside."""
    before = (job.root / image(job, 1)).read_bytes()
    (job.root / image(job, 0)).unlink()
    (job.root / image(job, 1)).write_bytes(b"x")
    (job.root / "images/00000/000000099-0.png").write_bytes(b"orphan")
    repair(job)
    assert verify(job).n_images == 2
    assert run_job().n_made == 2
    assert verify(job).is_clean
    assert (job.root / image(job, 1)).read_bytes() == before
    removed = [path.read_bytes() for path in (job.hidden / "removed").rglob("*.png")]
    assert sorted(removed) == [b"orphan", b"x"]


def test_repaired_is_said_where_a_second_look_finds_nothing(
    job: JobFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And only there: a file that stayed where it was is named once more."""
    (job.root / image(job, 0)).unlink()
    assert main(["verify", "--repair", str(job.root)]) == 0
    assert "repaired; start the job again" in capsys.readouterr().out
    assert main(["verify", str(job.root)]) == 0
    (job.root / "images/00000/mine.png").write_bytes(b"x")
    monkeypatch.setattr(repair_module, "move", lambda *_: None)
    capsys.readouterr()
    assert main(["verify", "--repair", str(job.root)]) == 3
    said = capsys.readouterr().out
    assert "mine.png: has no row" in said.partition("not repaired; still wrong is:")[2]


def test_a_sealed_file_that_does_not_open_is_put_aside(job: JobFolder, run_job: RunJob) -> None:
    """Its images lose their rows and are made again; nothing is deleted."""
    job.metadata.write_bytes(job.metadata.read_bytes()[:100])
    assert verify(job).broken == [job.metadata]
    repair(job)
    assert len(list((job.hidden / "removed").rglob("*.parquet"))) == 1
    assert run_job().n_made == 4
    assert verify(job).is_clean


def test_what_a_start_has_in_flight_is_no_finding(job: JobFolder) -> None:
    """An image file may be there before its row; whatever else is wrong is still said."""
    (job.root / image(job, 9)).write_bytes(b"about to be committed")
    (job.root / "images/00000/.000000010-0.png").write_bytes(b"being written")
    assert len(verify(job).orphans) == 2
    with FolderLock(job.lock):
        findings = verify(job)
        assert findings.is_clean
        assert list(findings.lines()) == [
            "a start is at work here: what it has in flight is not judged",
            "4 images, all well",
        ]
        (job.root / "images/00000/notes.txt").write_text("mine")
        (job.root / image(job, 0)).unlink()
        (job.root / image(job, 1)).write_bytes(b"x")
        findings = verify(job)
    assert findings.orphans == [job.images / "00000/notes.txt"]
    assert [name for _, name in findings.missing] == [image(job, 0)]
    assert [name for _, name in findings.altered] == [image(job, 1)]


def test_what_a_start_corrects_meanwhile_is_no_finding(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when images are made again, and their files are replaced before their rows."""
    content = (job.root / image(job, 1)).read_bytes()
    (job.root / image(job, 1)).write_bytes(b"another picture")
    monkeypatch.setattr(time, "sleep", lambda _: (job.root / image(job, 1)).write_bytes(content))
    with FolderLock(job.lock):
        assert verify(job).is_clean


def test_a_job_is_verified_beside_its_start(
    prompts: WritePrompts,
    start: StartCommand,
    folder: JobFolder,
    wait_until: Callable[[Callable[[], object]], None],
) -> None:
    """While it seals what a start before it left, draws, commits and compacts."""
    prompts(200)
    started = start("batch_size=2", "model.latency_s=0.01")
    wait_until(lambda: any(folder.images.glob("*/*.png")))
    started.kill()
    started = start("batch_size=2", "model.latency_s=0.02")
    wait_until(lambda: verify(folder).is_at_work)
    counts = [0]
    while started.process.is_alive():
        findings = verify(folder)
        assert findings.is_clean, list(findings.lines())
        counts.append(findings.n_images)
    assert started.exit_code() == 0
    assert counts == sorted(counts)
    assert len(set(counts)) > 3


def test_what_is_no_job_is_refused(folder: JobFolder) -> None:
    """There is nothing to verify."""
    with pytest.raises(FolderError, match="not a job's folder"):
        verify(folder)


def test_a_copy_without_its_hidden_folder_can_be_repaired(job: JobFolder, run_job: RunJob) -> None:
    """`cp job/* place` leaves it out; metadata.parquet has all that counts."""
    shutil.rmtree(job.hidden)
    (job.root / image(job, 1)).unlink()
    findings, left = repair(job)
    assert [name for _, name in findings.missing] == [image(job, 1)]
    assert left.is_clean
    assert run_job().n_made == 1
