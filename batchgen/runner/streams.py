"""Standard output and error that never fail: a job goes on where nobody can read them any more.

The files in the job's folder are the record. A stream may be closed, have no reader, lie on a full
disk or belong to a terminal that is gone: what cannot be written to it is dropped.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO


class Courtesy(io.TextIOBase):
    """A text stream that never fails; after the first error it is silent."""

    def __init__(self, stream: TextIO | None) -> None:
        """Take the stream to write to; None is silent from the beginning."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, if that is possible."""
        with self._dropping():
            if self._stream is not None:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    plain = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
                    self._stream.write(plain)
        return len(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with self._dropping():
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        """Return whether a terminal is there to see it."""
        try:
            return self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        """Return the descriptor; raises `OSError` where there is none."""
        if self._stream is None:
            raise OSError("the stream is closed")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Return the encoding of the stream."""
        return str(getattr(self._stream, "encoding", None) or "utf-8")

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: it was closed
            stream, self._stream = self._stream, None
            with contextlib.suppress(OSError, ValueError, AttributeError), _null() as null:
                # What it has buffered would fail again when Python closes it.
                os.dup2(null, stream.fileno())  # type: ignore[union-attr]


@contextlib.contextmanager
def _null() -> Iterator[int]:
    """Yield a descriptor of /dev/null."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_streams_a_courtesy() -> None:
    """Let nothing of this process fail for want of its standard streams.

    Descriptors that are closed are opened on /dev/null first: else the next file that is opened
    gets such a number, and is written to by libraries that print.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if not isinstance(sys.stdout, Courtesy):
        sys.stdout = Courtesy(sys.stdout)
    if not isinstance(sys.stderr, Courtesy):
        sys.stderr = Courtesy(sys.stderr)
