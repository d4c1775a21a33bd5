"""Pictures and charges to image files, rows and events of the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from batchgen.adapters.adapter import revisions_text
from batchgen.config.job import ImageFormat
from batchgen.images import image_file
from batchgen.images.image_file import Saved
from batchgen.images.parameters import parameters_text
from batchgen.ledger.records import Key, Record
from batchgen.ledger.writer import PART_ROWS, Ledger
from batchgen.plan.requests import ImageRequest
from batchgen.runner.disk_space import Average, refuse_if_full
from batchgen.runner.failures import Charge
from batchgen.runner.identity import Job
from batchgen.runner.maker import Made
from batchgen.runner.progress import Progress
from batchgen.runner.rows import failure_record, image_record
from batchgen.storage.atomic import DRAFT, storage_errors, sync_folder

logger = logging.getLogger(__name__)


def file_name(job: Job, image: ImageRequest) -> str:
    """Return where the file of an image lies in the job's folder."""
    suffix = job.config.images.format.value
    return job.folder.image_name(image.number, image.image_index, suffix)


def image_path(job: Job, image: ImageRequest) -> Path:
    """Return where the file of an image lies."""
    return job.folder.root / file_name(job, image)


def draft_path(job: Job, image: ImageRequest, mark: str) -> Path:
    """Return the hidden name beside `image_path` that a lease of this mark writes to."""
    path = image_path(job, image)
    return path.with_name(f".{path.name}.{mark}{DRAFT}")


def save_picture(job: Job, made: Made, path: Path) -> Saved:
    """Write a picture with its settings inside. Raises `StorageError`, or `ImageError`."""
    model, settings = job.model, made.request.settings
    revisions = revisions_text(settings.lora, job.adapters)
    parameters = parameters_text(settings, model.name, model.revision, revisions)
    return image_file.save(path, made.picture.pixels, parameters, job.config.images)


def note_warm_up(progress: Progress, made: Sequence[Made], n_workers: int = 1) -> None:
    """Log calls that were the first of their shape, and leave them out of the rate."""
    calls = {id(one.call): one.call for one in made if one.call.generation.warm_up}
    for call in calls.values():
        n_images = len(call.batch.requests)
        settings, seconds = call.batch.requests[0].settings, call.latency_s * n_images
        logger.info(
            "the first batch of %d at %dx%d took %.1f s, warm-up included",
            n_images, settings.width, settings.height, seconds,
        )  # fmt: skip
        progress.warmed_up(seconds / n_workers, len(call.batch.pending))


class Commits:
    """Saves pictures and records them and failures; decides nothing about failures."""

    def __init__(
        self,
        job: Job,
        ledger: Ledger,
        progress: Progress,
        attempt: Callable[[Key], int],
        average: Average | None = None,
    ) -> None:
        """Take what a start has.

        Args:
            job: The job.
            ledger: Where rows and failures go.
            progress: Where they are counted.
            attempt: Returns which attempt of an image succeeded.
            average: Of the images to be made, to know whether the disk has room for them.
        """
        self._job = job
        self._ledger = ledger
        self._progress = progress
        self._attempt = attempt
        self._average = average
        self._n_unchecked = 0

    def withdraw(self, pending: Sequence[ImageRequest]) -> None:
        """Void what is committed of these images, then remove their files, of whatever format."""
        self._ledger.withdraw([image.key for image in pending])
        folder = self._job.folder
        for image in pending:
            for kind in ImageFormat:
                path = folder.root / folder.image_name(image.number, image.image_index, kind.value)
                with storage_errors(path):
                    path.unlink(missing_ok=True)

    def save(self, made: Made) -> Saved:
        """Write the image file of a picture; may be called from several threads."""
        return save_picture(self._job, made, image_path(self._job, made.request))

    def publish(self, drafts: Sequence[tuple[Path, Made]]) -> None:
        """Give images their names that lie under hidden ones, durably; `commit` is next.

        Raises `StorageError`.
        """
        paths = [(draft, image_path(self._job, made.request)) for draft, made in drafts]
        for draft, path in paths:
            with storage_errors(path):
                draft.replace(path)
        for folder in {path.parent for _, path in paths}:
            with storage_errors(folder):
                sync_folder(folder)

    def commit(self, saved: list[tuple[Made, Saved]]) -> None:
        """Make images part of the dataset whose files are in place.

        Raises `StorageError` where the journal cannot be written, or, looked at now and then, the
        disk has no room for what is left to make.
        """
        self._ledger.commit([self._row(made, on_disk) for made, on_disk in saved])
        self._progress.done([made.request.key for made, _ in saved])
        self._check_space(len(saved))

    def record(self, charges: Iterable[Charge]) -> None:
        """Record failures."""
        for charge in charges:
            failed = charge.failed
            self._ledger.fail(
                failure_record(
                    failed, charge.attempt, is_final=charge.is_final, run_id=self._ledger.run_id
                )
            )
            self._progress.failed(failed.request.key, type(failed.error).__name__)

    def _row(self, made: Made, saved: Saved) -> Record:
        return image_record(
            made,
            saved,
            {
                "file_name": file_name(self._job, made.request),
                "model": self._job.model.name,
                "model_revision": self._job.model.revision,
                "lora_revisions": revisions_text(made.request.settings.lora, self._job.adapters),
                "dtype": self._job.model.dtype,
                "device": self._job.device.value,
                "environment": self._job.identity.environment,
                "attempt": self._attempt(made.request.key),
                "run_id": self._ledger.run_id,
            },
        )

    def _check_space(self, n_committed: int) -> None:
        self._n_unchecked += n_committed
        if self._n_unchecked >= PART_ROWS:
            self._n_unchecked = 0
            refuse_if_full(self._job.folder, self._job.config, self._progress.n_left, self._average)
