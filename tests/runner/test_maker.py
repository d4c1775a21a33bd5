"""One batch through the pipeline, whatever it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from conftest import image_of

from batchgen.config.models import FakeModel
from batchgen.errors import BlankImage, DeviceLost, DeviceOutOfMemory, ImageError, StorageError
from batchgen.pipelines.base import PLAIN, Decoding, Generation, Picture
from batchgen.pipelines.fake import FakePipeline, _pixels
from batchgen.plan.requests import Batch, ImageRequest
from batchgen.runner.maker import Failed, Made, Maker
from batchgen.runner.memory_ladder import Rung


class Watched(FakePipeline):
    """The fake pipeline; notes each call as the rows in it and how it was to decode."""

    def __init__(self, model: FakeModel) -> None:
        super().__init__(model)
        self.model = model
        self.calls: list[list[int]] = []
        self.decodings: list[Decoding] = []

    def generate(self, images: Sequence[ImageRequest], decoding: Decoding = PLAIN) -> Generation:
        """Note the call, and make it."""
        self.calls.append([image.row_index for image in images])
        self.decodings.append(decoding)
        return super().generate(images, decoding)


class Scene:
    """A maker over a watched pipeline, with all that it says to others."""

    def __init__(self, pipeline: Watched, rungs: dict[str, Rung] | None = None) -> None:
        self.pipeline = pipeline
        self.rungs: list[tuple[str, str]] = []
        self.around: list[list[str]] = []
        self.maker = Maker(
            pipeline,
            {} if rungs is None else rungs,
            is_tiled=pipeline.model.is_tiled,
            on_rung=self._hear,
            around=self._around,
        )

    def _hear(self, size: str, rung: Rung) -> None:
        self.rungs.append((size, str(rung)))

    @contextmanager
    def _around(self, images: Sequence[ImageRequest]) -> Iterator[None]:
        self.around.append([image.row_key for image in images])
        yield

    def make(self, *images: ImageRequest) -> list[Made | Failed]:
        """Make one batch."""
        return list(self.maker.make(Batch(images)))


def scene(rungs: dict[str, Rung] | None = None, **faults: Any) -> Scene:
    """Return a scene whose pipeline has faults."""
    return Scene(Watched(FakeModel(**faults)), rungs)


def rows(outcomes: list[Made | Failed], kind: type = object) -> list[int]:
    """Return the row indexes of outcomes of one kind."""
    return [outcome.request.row_index for outcome in outcomes if isinstance(outcome, kind)]


def images(n: int) -> list[ImageRequest]:
    """Return the images of the first n rows."""
    return [image_of(row) for row in range(n)]


def test_good_batch_is_one_call_in_order() -> None:
    """Positions and times are those of the call."""
    stage = scene()
    made = stage.make(*images(3))
    assert stage.pipeline.calls == [[0, 1, 2]]
    assert [(m.request.row_index, m.position) for m in made if isinstance(m, Made)] == [
        (0, 0), (1, 1), (2, 2)
    ]  # fmt: skip
    assert stage.around == [["k0", "k1", "k2"]]


def test_failing_batch_is_split_until_the_culprit_stands_alone() -> None:
    """Its neighbours are made, in order, in the largest halves that work."""
    stage = scene(fail_rows=[2])
    outcomes = stage.make(*images(4))
    assert rows(outcomes) == [0, 1, 2, 3]
    assert rows(outcomes, Failed) == [2]
    assert stage.pipeline.calls == [[0, 1, 2, 3], [0, 1], [2, 3], [2], [3]]


def test_failure_carries_the_error_and_its_last_frames() -> None:
    """What failures.parquet says of it."""
    (failed,) = scene(fail_rows=[0]).make(image_of(0))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ImageError)
    assert failed.batch_size == 1
    assert "in _break" in failed.traceback
    assert "row 0 fails (model.fail_rows)" in failed.traceback


def test_failure_by_a_known_fault_ends_with_its_cure() -> None:
    """In the log and in failures.parquet."""
    (failed,) = scene(fail_rows=[0]).make(image_of(0))
    assert isinstance(failed, Failed)
    assert failed.message == "row 0 fails (model.fail_rows)"
    known = dataclasses.replace(failed, error=RuntimeError("The kernel GeluExt unregistered."))
    assert known.message.startswith("The kernel GeluExt unregistered. ")
    assert known.message.endswith("(cpu-kernel-missing)")


def test_batch_of_culprits_fails_one_by_one() -> None:
    """Everybody gets a chance alone."""
    outcomes = scene(fail_rows=[0, 1, 2, 3]).make(*images(4))
    assert rows(outcomes, Failed) == [0, 1, 2, 3]


def test_finished_neighbour_is_made_again_but_not_returned() -> None:
    """The batch keeps its make-up; what is done is done."""
    stage = scene()
    outcomes = stage.make(image_of(0, is_pending=False), image_of(1), image_of(2))
    assert stage.pipeline.calls == [[0, 1, 2]]
    assert rows(outcomes) == [1, 2]
    made = outcomes[0]
    assert isinstance(made, Made)
    assert made.position == 1


def test_batch_without_pending_images_is_not_made() -> None:
    """Half of a split batch may be done already."""
    stage = scene(fail_rows=[3])
    outcomes = stage.make(*(image_of(n, is_pending=n > 1) for n in range(4)))
    assert stage.pipeline.calls == [[0, 1, 2, 3], [2, 3], [2], [3]]
    assert rows(outcomes) == [2, 3]


def test_finished_neighbour_that_fails_is_not_charged() -> None:
    """It is done; only its neighbour is asked for."""
    outcomes = scene(fail_rows=[0]).make(image_of(0, is_pending=False), image_of(1))
    assert rows(outcomes, Made) == [1]
    assert rows(outcomes, Failed) == []


def test_out_of_memory_climbs_slicing_then_halves() -> None:
    """No failure: the images are made in smaller batches."""
    stage = scene(oom_above_batch=1)
    outcomes = stage.make(*images(4))
    assert rows(outcomes, Made) == [0, 1, 2, 3]
    assert stage.pipeline.calls[:4] == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1], [0]]
    assert [decoding.slicing for decoding in stage.pipeline.decodings[:3]] == [False, True, True]
    assert not any(decoding.tiling for decoding in stage.pipeline.decodings)


def test_out_of_memory_of_a_single_image_is_tiled_then_fails() -> None:
    """The top of the ladder."""
    stage = scene(oom_above_batch=0)
    (failed,) = stage.make(image_of(0))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, DeviceOutOfMemory)
    assert [decoding.tiling for decoding in stage.pipeline.decodings] == [False, True]


def test_rung_that_works_is_told_and_remembered() -> None:
    """The next batch of this size starts there."""
    stage = scene(oom_above_batch=2)
    stage.make(*images(4))
    assert stage.rungs[-1] == ("64x64", "slicing,batch=2")
    stage.pipeline.calls.clear()
    stage.make(*images(4))
    assert stage.pipeline.calls == [[0, 1], [2, 3]]


def test_rung_of_one_size_says_nothing_of_another() -> None:
    """Small pictures do not pay for large ones."""
    stage = scene(rungs={"64x64": Rung(slicing=True, max_batch=1)})
    stage.make(*(image_of(n, width=128) for n in range(2)))
    stage.make(*images(2))
    assert stage.pipeline.calls == [[0, 1], [0], [1]]


def test_rung_that_did_not_help_is_not_remembered() -> None:
    """A single image that no rung can save leaves the others where they were."""
    rungs: dict[str, Rung] = {}
    stage = scene(rungs, oom_above_batch=0)
    stage.make(image_of(0))
    assert stage.rungs == []
    assert rungs == {"64x64": Rung()}


def test_images_say_on_which_rung_they_were_made() -> None:
    """The metadata of promise 6."""
    outcomes = scene(oom_above_batch=2).make(*images(3))
    calls = [outcome.call for outcome in outcomes if isinstance(outcome, Made)]
    assert {str(call.rung) for call in calls} == {"slicing,batch=2"}
    assert [len(call.batch.requests) for call in calls] == [2, 2, 1]


@pytest.mark.parametrize("fault", ["blank_rows", "nan_rows"])
def test_blank_picture_is_tried_once_more_in_float32_then_fails(fault: str) -> None:
    """Its neighbours keep the pixels of the first call."""
    faults: Any = {fault: [1]}
    stage = scene(**faults)
    outcomes = stage.make(*images(3))
    assert rows(outcomes, Failed) == [1]
    assert [decoding.float32 for decoding in stage.pipeline.decodings] == [False, True]
    failed = outcomes[1]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, BlankImage)
    assert [o.call.vae_float32 for o in outcomes if isinstance(o, Made)] == [False, False]


def test_picture_that_float32_heals_is_kept() -> None:
    """Made in the same batch again, and marked."""
    stage = scene(nan_until_float32=[1])
    outcomes = stage.make(*images(3))
    assert rows(outcomes, Made) == [0, 1, 2]
    assert [o.call.vae_float32 for o in outcomes if isinstance(o, Made)] == [False, True, False]
    healed = outcomes[1]
    assert isinstance(healed, Made)
    assert len(np.unique(healed.picture.pixels)) > 10


def test_blank_picture_of_a_float32_vae_fails_at_once() -> None:
    """There is nothing to raise."""
    stage = scene(blank_rows=[0])
    stage.pipeline.vae_is_float32 = True
    assert rows(stage.make(*images(2)), Failed) == [0]
    assert len(stage.pipeline.calls) == 1


def test_picture_that_was_not_finite_fails_though_it_has_colours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rounding turns a NaN into some colour or other."""
    stage = scene()
    monkeypatch.setattr(
        stage.pipeline,
        "_picture",
        lambda image, *_: Picture(_pixels(image, ""), is_finite=image.row_index != 1),
    )
    assert rows(stage.make(*images(3)), Failed) == [1]


def test_blank_finished_neighbour_costs_no_second_look() -> None:
    """It is not asked for."""
    stage = scene(blank_rows=[0])
    assert rows(stage.make(image_of(0, is_pending=False), image_of(1)), Made) == [1]
    assert len(stage.pipeline.calls) == 1


def test_lost_device_passes_through_and_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No split, no retry: no further call can succeed."""
    stage = scene()

    def lost(*_: object) -> None:
        raise DeviceLost("heartbeat")

    monkeypatch.setattr(stage.pipeline, "_break", lost)
    with pytest.raises(DeviceLost):
        stage.make(*images(4))
    assert len(stage.pipeline.calls) == 1


def test_full_disk_passes_through_and_blames_nobody() -> None:
    """The journal of what is being made cannot be written: no row is guilty of it."""
    stage = scene()

    @contextmanager
    def full(_: Sequence[ImageRequest]) -> Iterator[None]:
        raise StorageError("disk full")
        yield

    maker = Maker(
        stage.pipeline, {}, is_tiled=lambda *_: False, on_rung=lambda *_: None, around=full
    )
    with pytest.raises(StorageError):
        list(maker.make(Batch(tuple(images(2)))))


def test_tiling_that_is_asked_for_begins_on_the_lowest_rung() -> None:
    """And stays on every rung above; the images say so."""
    stage = scene(vae_tiling="on", oom_above_batch=1)
    made = stage.make(*images(2))
    assert all(decoding.tiling for decoding in stage.pipeline.decodings)
    assert [str(one.call.rung) for one in made if isinstance(one, Made)] == [
        "slicing,batch=1,tiling"
    ] * 2
    (alone,) = scene(vae_tiling="on").make(*images(1))
    assert isinstance(alone, Made)
    assert str(alone.call.rung) == "tiling"


def test_only_images_above_the_size_are_tiled() -> None:
    """Those of 64 pixels are not above 64."""
    for limit, is_tiled in (("64", False), ("63", True)):
        stage = scene(vae_tiling=limit)
        stage.make(*images(1))
        assert [decoding.tiling for decoding in stage.pipeline.decodings] == [is_tiled]


def test_the_log_counts_in_words(caplog: pytest.LogCaptureFixture) -> None:
    """One image is an image."""
    scene(oom_above_batch=0).make(*images(1))
    scene(blank_rows=[0]).make(*images(1))
    assert "with 1 image; now" in caplog.text
    assert "1 blank picture; once more" in caplog.text
