"""What a fatal signal leaves: the stack, in a file that says which start, or worker, died of it."""

from __future__ import annotations

import faulthandler
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batchgen.storage.atomic import storage_errors

logger = logging.getLogger(__name__)


@contextmanager
def crash_note(path: Path) -> Iterator[None]:
    """Write the stack of a fatal signal to a file, which is deleted when the block ends."""
    was_enabled = faulthandler.is_enabled()
    with storage_errors(path):
        note = path.open("w")
    with note:
        faulthandler.enable(note)
        try:
            yield
        finally:
            faulthandler.disable()
            if was_enabled and sys.__stderr__ is not None:
                faulthandler.enable(sys.__stderr__)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:  # it is empty, and the next start deletes it
                logger.warning("%s is left over: %s", path, error.strerror)
