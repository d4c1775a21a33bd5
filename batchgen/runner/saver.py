"""Encoding, writing and committing in the background, in the order the batches were made."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from batchgen.errors import ImageError
from batchgen.images.image_file import Saved
from batchgen.runner.maker import Failed, Made

logger = logging.getLogger(__name__)

_THREADS = 2
Commit = Callable[[list[tuple[Made, Saved]]], None]


class Saver:
    """A bounded queue between the device and the disk.

    `submit` returns at once while fewer than `room` batches are under way, so that saving happens
    while the device denoises and memory stays flat. The first error that is not one image's own
    stops everything: it is raised by the next `submit` or at the end of the `with` block, and
    nothing more is committed.
    """

    def __init__(
        self,
        save: Callable[[Made], Saved],
        commit: Commit,
        on_failed: Callable[[Failed], None],
        *,
        room: int,
    ) -> None:
        self._save = save
        self._commit = commit
        self._on_failed = on_failed
        self._room = threading.Semaphore(room)
        self._savers = ThreadPoolExecutor(_THREADS, thread_name_prefix="save")
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._error: BaseException | None = None

    def submit(self, batch: list[Made], then: Callable[[], None] | None = None) -> None:
        """Save and commit the pictures of one batch; waits where too many are under way.

        `then` is called by the thread that commits, after them and before the next batch's.
        """
        self._raise_error()
        if not batch and then is None:
            return
        self._room.acquire()
        saving = [(made, self._savers.submit(self._save, made)) for made in batch]
        self._committer.submit(self._commit_batch, saving, then)

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait until everything submitted is committed. Raises the error that prevented it."""
        self._savers.shutdown(wait=True)
        self._committer.shutdown(wait=True)
        if kind is None:
            self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _commit_batch(
        self, saving: list[tuple[Made, Future[Saved]]], then: Callable[[], None] | None
    ) -> None:
        try:
            done = []
            for made, future in saving:
                try:
                    done.append((made, future.result()))
                except ImageError as error:
                    self._on_failed(Failed(made.request, error, len(made.call.batch.requests)))
            if self._error is None and done:
                self._commit(done)
            if self._error is None and then is not None:
                then()
        except BaseException as error:
            self._error = self._error or error
        finally:
            self._room.release()
