"""The loop over batches: start, make, save, commit; failures, their retries, and the breaker."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from batchgen.adapters.adapter import revisions_text
from batchgen.config.job import ImageFormat
from batchgen.errors import CircuitOpen, DeviceHung, DeviceLost, DeviceOutOfMemory, ProcessDied
from batchgen.images import image_file
from batchgen.images.image_file import Saved
from batchgen.images.parameters import parameters_text
from batchgen.ledger.records import Key, Record
from batchgen.ledger.writer import PART_ROWS, Ledger
from batchgen.pipelines.base import Pipeline
from batchgen.plan.backlog import SetAside
from batchgen.plan.requests import Batch, ImageRequest
from batchgen.runner.disk_space import refuse_if_full
from batchgen.runner.identity import Job
from batchgen.runner.maker import Failed, Made, Maker
from batchgen.runner.memory_ladder import Rung
from batchgen.runner.progress import Progress
from batchgen.runner.rows import failure_record, image_record
from batchgen.runner.saver import Saver
from batchgen.runner.stopping import Stop, Watchdog
from batchgen.storage.atomic import storage_errors

logger = logging.getLogger(__name__)

_WAITING_IMAGES = 8
_Item = TypeVar("_Item")


class Worker:
    """Makes batches with one pipeline and commits what comes of them."""

    def __init__(
        self, job: Job, ledger: Ledger, progress: Progress, stop: Stop, aside: SetAside
    ) -> None:
        self._job = job
        self._ledger = ledger
        self._progress = progress
        self._stop = stop
        self._attempts: dict[Key, int] = dict(aside.retries)
        self._held: list[Failed] = []
        self._again: list[ImageRequest] = []
        self._has_success = False
        self._in_flight: list[Key] = []
        self._watchdog = Watchdog(job.config.timeout.batch_s, self._on_hang, stop.leave)
        self._n_unchecked = 0

    def work(self, todo: Iterable[Batch], pipeline: Pipeline, *, replaces: bool) -> None:
        """Make all batches, then what failed once more, until done or told to stop.

        With `replaces`, images are withdrawn from the ledger before they are made again. What was
        made is committed when this returns or raises. Raises `CircuitOpen`, and whatever disk and
        table raise.
        """
        maker = Maker(
            pipeline,
            self._rungs(),
            is_tiled=self._job.config.model.is_tiled,
            on_rung=self._on_rung,
            around=self._around,
        )
        room = max(2, _WAITING_IMAGES // self._job.config.batch_size)
        with Saver(self._save, self._commit, self._record_failure, room=room) as saver:
            for batch in self._until_stopped(todo):
                if replaces:
                    self._withdraw(batch.pending)
                self._make(batch, maker, saver)
            self._charge_held(maker)
            again, self._again = self._again, []
            for image in self._until_stopped(again):
                self._make(Batch((image,)), maker, saver)
            self._charge_held(maker)

    def _withdraw(self, pending: Sequence[ImageRequest]) -> None:
        """Void what is committed of these images, then remove their files, of whatever format."""
        self._ledger.withdraw([image.key for image in pending])
        folder = self._job.folder
        for image in pending:
            for kind in ImageFormat:
                path = folder.root / folder.image_name(image.number, image.image_index, kind.value)
                with storage_errors(path):
                    path.unlink(missing_ok=True)

    def _until_stopped(self, items: Iterable[_Item]) -> Iterator[_Item]:
        for item in items:
            if self._stop.reason is not None:
                return
            yield item

    def _make(self, batch: Batch, maker: Maker, saver: Saver) -> None:
        if self._is_condemned(batch):
            return
        made = []
        try:
            for outcome in maker.make(batch):
                if isinstance(outcome, Made):
                    self._has_success = True
                    self._release_held()
                    made.append(outcome)
                else:
                    self._hold(outcome, maker)
        except DeviceLost as error:
            raise CircuitOpen(
                f"The device is lost: {error}. Look at `npu-smi info` and the log; no row is "
                "charged with it."
            ) from error
        finally:
            self._note_warm_up(made)
            saver.submit(made)

    def _note_warm_up(self, made: Sequence[Made]) -> None:
        """Tell of calls that were the first of their shape: their time says little of the rest."""
        for call in {
            id(one.call): one.call for one in made if one.call.generation.warm_up
        }.values():
            n_images = len(call.batch.requests)
            settings, seconds = call.batch.requests[0].settings, call.latency_s * n_images
            logger.info(
                "the first batch of %d at %dx%d took %.1f s, warm-up included",
                n_images, settings.width, settings.height, seconds,
            )  # fmt: skip
            self._progress.warmed_up(seconds, len(call.batch.pending))

    def _is_condemned(self, batch: Batch) -> bool:
        """Fail an image that killed its process as often as an image may fail."""
        image = batch.requests[0]
        suspect = self._ledger.state.suspects.get(image.key)
        limit = self._job.config.retry.max_attempts
        attempts = self._attempts.get(image.key, 0)
        if len(batch.requests) > 1 or suspect is None or attempts < limit:
            return False
        self._attempts[image.key] = attempts - 1
        self._record_failure(
            Failed(image, ProcessDied(f"the process died {attempts} times: {suspect.reason}"), 1)
        )
        return True

    def _hold(self, failed: Failed, maker: Maker) -> None:
        """Take a failure in; it is charged only when a success shows that the device works."""
        logger.warning("row %d failed: %s", failed.request.row_index, failed.message)
        is_retry = failed.request.key in self._attempts
        if is_retry and self._has_success:
            self._record_failure(failed)
            return
        self._held.append(failed)
        rows = {held.request.row_key for held in self._held}
        if len(rows) >= self._job.config.retry.max_consecutive_failures:
            if is_retry:
                self._charge_held(maker)
            else:
                self._break(len(rows))

    def _charge_held(self, maker: Maker) -> None:
        """Charge what is held back, after a picture nobody asked for if none has come out yet.

        Rows that failed before fail again for reasons of their own; that alone says nothing of the
        device, in either direction. Out of memory is the answer of a device that works.
        """
        is_clear = all(isinstance(held.error, DeviceOutOfMemory) for held in self._held)
        if not self._has_success and not is_clear:
            settings = replace(self._held[-1].request.settings, prompt="a photo", seed=0)
            canary = ImageRequest("", -1, 0, settings, "0" * 16, 0, True, {})
            outcomes = maker.make(Batch((canary,)))
            self._has_success = all(isinstance(outcome, Made) for outcome in outcomes)
            if not self._has_success:
                self._break(len({held.request.row_key for held in self._held}))
        self._release_held()

    def _break(self, n_rows: int) -> None:
        """Stop the job and charge nobody."""
        failed, self._held = self._held[-1], []
        raise CircuitOpen(
            f"{n_rows} rows in a run failed, the last, row {failed.request.row_index}, with "
            f"{type(failed.error).__name__}: {failed.error}. Look at the device and at "
            f"{self._job.folder.log}; no row is charged with it."
        ) from failed.error

    def _release_held(self) -> None:
        """Charge the failures held back, and note them for another try."""
        held, self._held = self._held, []
        for failed in held:
            is_retry = failed.request.key in self._attempts
            self._record_failure(failed)
            if (
                not is_retry
                and self._attempts[failed.request.key] < self._job.config.retry.max_attempts
            ):
                self._again.append(failed.request)

    def _record_failure(self, failed: Failed) -> None:
        key = failed.request.key
        attempt = self._attempts.get(key, 0) + 1
        is_final = attempt >= self._job.config.retry.max_attempts
        failure = failure_record(failed, attempt, is_final=is_final, run_id=self._ledger.run_id)
        self._attempts[key] = attempt
        self._ledger.fail(failure)
        self._progress.failed(key, type(failed.error).__name__)

    def _save(self, made: Made) -> Saved:
        model = self._job.model
        settings, revisions = made.request.settings, self._lora_revisions(made.request)
        parameters = parameters_text(settings, model.name, model.revision, revisions)
        path = self._job.folder.root / self._name(made.request)
        return image_file.save(path, made.picture.pixels, parameters, self._job.config.images)

    def _lora_revisions(self, image: ImageRequest) -> str:
        return revisions_text(image.settings.lora, self._job.adapters)

    def _name(self, image: ImageRequest) -> str:
        suffix = self._job.config.images.format.value
        return self._job.folder.image_name(image.number, image.image_index, suffix)

    def _commit(self, saved: list[tuple[Made, Saved]]) -> None:
        self._ledger.commit([self._row(made, on_disk) for made, on_disk in saved])
        self._progress.done([made.request.key for made, _ in saved])
        self._check_space(len(saved))

    def _row(self, made: Made, saved: Saved) -> Record:
        return image_record(
            made,
            saved,
            {
                "file_name": self._name(made.request),
                "model": self._job.model.name,
                "model_revision": self._job.model.revision,
                "lora_revisions": self._lora_revisions(made.request),
                "dtype": self._job.model.dtype,
                "device": self._job.device.value,
                "environment": self._job.identity.environment,
                "attempt": self._attempts.get(made.request.key, 0) + 1,
                "run_id": self._ledger.run_id,
            },
        )

    def _check_space(self, n_committed: int) -> None:
        self._n_unchecked += n_committed
        if self._n_unchecked >= PART_ROWS:
            self._n_unchecked = 0
            refuse_if_full(self._job.folder, self._job.config, self._progress.n_left)

    def _rungs(self) -> dict[str, Rung]:
        rungs = self._ledger.state.rungs
        return {size: Rung.from_text(text) for size, text in rungs.items()}

    def _on_rung(self, size: str, rung: Rung) -> None:
        self._ledger.rung(size, str(rung))

    @contextmanager
    def _around(self, batch: Sequence[ImageRequest]) -> Iterator[None]:
        """Put on record what is being made, and watch the clock, for one call of the pipeline."""
        self._in_flight = [image.key for image in batch]
        self._ledger.start(self._in_flight)
        with self._watchdog.watching():
            yield

    def _on_hang(self, batch_s: float) -> None:
        reason = f"{DeviceHung.__name__}: over timeout.batch_s={batch_s:g}"
        logger.error("%s; images %s", reason, self._in_flight)
        self._ledger.suspect(self._in_flight, reason)
        self._progress.enter("stopped")
