"""Saving beside the device: bounded, in order, and stopped by its first error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from conftest import image_of

from batchgen.config.models import FakeModel
from batchgen.errors import ImageError, StorageError
from batchgen.images.image_file import Saved
from batchgen.pipelines.fake import FakePipeline
from batchgen.plan.requests import Batch
from batchgen.runner.maker import Call, Failed, Made
from batchgen.runner.memory_ladder import Rung
from batchgen.runner.saver import Saver

WaitUntil = Callable[[Callable[[], object]], None]
SAVED = Saved("pixels", "file", 1)


def batch_of(*rows: int) -> list[Made]:
    """Return the pictures of rows, as the maker hands them over."""
    images = tuple(image_of(row) for row in rows)
    generation = FakePipeline(FakeModel()).generate(images)
    call = Call(Batch(images), generation, 0.0, Rung(), vae_float32=False)
    return [Made(image, position, call) for position, image in enumerate(images)]


class Disk:
    """What a saver saves to: notes what was committed, and may wait or fail on a row."""

    def __init__(self) -> None:
        self.saved: list[int] = []
        self.commits: list[list[int]] = []
        self.failed: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.errors: dict[int, Exception] = {}
        self.waits: dict[int, float] = {}

    def save(self, made: Made) -> Saved:
        """Save one picture."""
        self.gate.wait(10)
        row = made.request.row_index
        time.sleep(self.waits.get(row, 0))
        if row in self.errors:
            raise self.errors[row]
        self.saved.append(row)
        return SAVED

    def commit(self, done: list[tuple[Made, Saved]]) -> None:
        """Commit a batch."""
        self.commits.append([made.request.row_index for made, _ in done])

    def on_failed(self, failed: Failed) -> None:
        """Hear of an image that could not be encoded."""
        self.failed.append(failed.request.row_index)

    def saver(self, room: int = 8) -> Saver:
        """Return a saver to this disk."""
        return Saver(self.save, self.commit, self.on_failed, room=room)


def submit_beside(saver: Saver, *batches: list[Made]) -> threading.Thread:
    """Submit batches in a thread, as the device's loop would."""

    def submit() -> None:
        for batch in batches:
            saver.submit(batch)

    thread = threading.Thread(target=submit)
    thread.start()
    return thread


def test_everything_submitted_is_committed_in_order() -> None:
    """A batch at a time, in the order they were made, however long each takes to save."""
    disk = Disk()
    disk.waits = {0: 0.05, 3: 0.03}
    with disk.saver() as saver:
        for rows in ((0, 1), (2,), (3, 4), (5,)):
            saver.submit(batch_of(*rows))
    assert disk.commits == [[0, 1], [2], [3, 4], [5]]


def test_saving_happens_beside_the_caller() -> None:
    """`submit` returns while nothing is saved yet."""
    disk = Disk()
    disk.gate.clear()
    with disk.saver() as saver:
        saver.submit(batch_of(0, 1))
        assert disk.saved == []
        disk.gate.set()
    assert disk.commits == [[0, 1]]


def test_submit_waits_where_too_many_pictures_are_under_way() -> None:
    """A slow disk slows the device down instead of filling the memory."""
    disk = Disk()
    disk.gate.clear()
    with disk.saver(room=1) as saver:
        thread = submit_beside(saver, batch_of(0, 1), batch_of(2))
        thread.join(0.1)
        assert thread.is_alive()
        disk.gate.set()
        thread.join(5)
        assert not thread.is_alive()
    assert disk.commits == [[0, 1], [2]]


def test_pictures_that_wait_for_a_commit_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that hangs on a network disk holds the pixels of what it is to commit."""
    disk, gate = Disk(), threading.Event()
    monkeypatch.setattr(disk, "commit", lambda _: gate.wait(10))
    with disk.saver(room=2) as saver:
        thread = submit_beside(saver, *(batch_of(row) for row in range(6)))
        thread.join(0.2)
        is_waiting = thread.is_alive()
        gate.set()
        thread.join(5)
    assert is_waiting


def test_batch_larger_than_the_room_is_saved_all_the_same() -> None:
    """It takes its turns."""
    disk = Disk()
    with disk.saver(room=2) as saver:
        saver.submit(batch_of(*range(7)))
    assert disk.commits == [list(range(7))]


def submit_all(saver: Saver, *batches: tuple[int, ...], after: Callable[[], object]) -> None:
    """Submit batches and close; `after` is called between two."""
    with saver:
        for rows in batches:
            saver.submit(batch_of(*rows))
            after()


def test_first_error_stops_the_commits_and_is_raised_at_the_end() -> None:
    """What was committed stays; nothing that waited behind the error joins it."""
    disk = Disk()
    disk.errors = {2: StorageError("full"), 3: StorageError("later")}
    disk.gate.clear()
    threading.Timer(0.05, disk.gate.set).start()
    with pytest.raises(StorageError, match="full"):
        submit_all(disk.saver(), (0,), (1, 2), (3,), (4,), after=lambda: None)
    assert disk.commits == [[0]]


def test_next_submit_raises_the_error(wait_until: WaitUntil) -> None:
    """The device stops within a batch."""
    disk = Disk()
    disk.errors = {0: StorageError("full")}
    saver = disk.saver()
    with pytest.raises(StorageError, match="full"):
        submit_all(saver, (0,), (1,), after=lambda: wait_until(lambda: saver._error))
    assert disk.saved == []


def test_error_of_a_commit_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal fills up as well as the images do."""
    disk = Disk()

    def commit(_: object) -> None:
        raise StorageError("journal full")

    monkeypatch.setattr(disk, "commit", commit)
    with pytest.raises(StorageError, match="journal full"), disk.saver() as saver:
        saver.submit(batch_of(0))


def test_image_that_cannot_be_encoded_costs_itself_only() -> None:
    """Its batch is committed without it, and the job goes on."""
    disk = Disk()
    disk.errors = {1: ImageError("no room in EXIF")}
    with disk.saver() as saver:
        saver.submit(batch_of(0, 1, 2))
        saver.submit(batch_of(3))
    assert disk.commits == [[0, 2], [3]]
    assert disk.failed == [1]


def test_error_of_the_block_is_not_hidden() -> None:
    """What was submitted before it is committed all the same."""
    disk = Disk()
    with pytest.raises(ZeroDivisionError):
        submit_all(disk.saver(), (0,), after=lambda: 1 / 0)
    assert disk.commits == [[0]]


def test_empty_batch_is_nothing() -> None:
    """A batch of which every image failed."""
    disk = Disk()
    with disk.saver() as saver:
        saver.submit([])
    assert disk.commits == []


def test_what_follows_a_batch_comes_after_its_commit_and_before_the_next() -> None:
    """Failures of a batch are put on record behind its pictures."""
    disk, order = Disk(), list[str]()
    disk.waits = {0: 0.05}
    with disk.saver() as saver:
        saver.submit(batch_of(0), then=lambda: order.append(f"after {disk.commits}"))
        saver.submit([], then=lambda: order.append("alone"))
        saver.submit(batch_of(1))
    assert order == ["after [[0]]", "alone"]
    assert disk.commits == [[0], [1]]


def test_nothing_follows_a_batch_that_was_not_committed() -> None:
    """What was not made must not look as if it were."""
    disk, order = Disk(), list[str]()
    disk.errors = {0: StorageError("full")}
    with pytest.raises(StorageError), disk.saver() as saver:
        saver.submit(batch_of(0), then=lambda: order.append("after"))
    assert order == []
