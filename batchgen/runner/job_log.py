"""The log of a job, .batchgen/log.txt: appended by every start, times in UTC."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

logger = logging.getLogger(__name__)


class _JobLog(logging.FileHandler):
    """The log of a job; what cannot be written is dropped, and that is said once."""

    _has_failed = False

    def handleError(self, _: logging.LogRecord) -> None:  # noqa: N802
        """Drop what cannot be written."""
        if not self._has_failed:
            self._has_failed = True
            logger.warning("%s cannot be written: %s", self.baseFilename, sys.exc_info()[1])

    def close(self) -> None:
        with suppress(OSError):
            super().close()

    def _open(self) -> TextIOWrapper:
        """Open the file itself, never what a link in its place points to."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        descriptor = os.open(self.baseFilename, flags, 0o666)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)  # noqa: PTH123


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Append batchgen's messages to a file, times in UTC; without it where it cannot be opened."""
    try:
        handler = _JobLog(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        logger.warning("%s cannot be written: %s", path, error)
        yield
        return
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger("batchgen")
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
