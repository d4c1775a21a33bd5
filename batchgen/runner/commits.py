"""Pictures and charges to image files, rows and events of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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
from batchgen.storage.atomic import storage_errors


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
        model, settings = self._job.model, made.request.settings
        revisions = self._lora_revisions(made.request)
        parameters = parameters_text(settings, model.name, model.revision, revisions)
        path = self._job.folder.root / self._name(made.request)
        return image_file.save(path, made.picture.pixels, parameters, self._job.config.images)

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

    def _lora_revisions(self, image: ImageRequest) -> str:
        return revisions_text(image.settings.lora, self._job.adapters)

    def _name(self, image: ImageRequest) -> str:
        suffix = self._job.config.images.format.value
        return self._job.folder.image_name(image.number, image.image_index, suffix)

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
                "attempt": self._attempt(made.request.key),
                "run_id": self._ledger.run_id,
            },
        )

    def _check_space(self, n_committed: int) -> None:
        self._n_unchecked += n_committed
        if self._n_unchecked >= PART_ROWS:
            self._n_unchecked = 0
            refuse_if_full(self._job.folder, self._job.config, self._progress.n_left, self._average)
