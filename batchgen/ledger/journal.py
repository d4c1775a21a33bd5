"""The journal: one checksummed line per event, durable when `append` returns.

A line is the CRC-32 of its JSON in 8 hexadecimal digits, a space, the JSON, a newline. A torn or
damaged line is skipped when reading: its event was never committed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batchgen.storage.atomic import storage_errors, sync_folder

logger = logging.getLogger(__name__)

EventJson = dict[str, Any]
"""An event in its form on disk; what it means is the business of `events`."""


class Journal:
    """An open journal file; every start of a job, and every seal, opens a new one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._descriptor = os.open(path, flags, 0o666)
            sync_folder(path.parent)

    def append(self, event: EventJson, *, durable: bool = True) -> None:
        """Write one event; where `durable`, it survives a loss of power once this returns."""
        line = encode(event)
        with storage_errors(self.path):
            size = os.fstat(self._descriptor).st_size
            try:
                written = os.write(self._descriptor, line)
                while written < len(line):
                    written += os.write(self._descriptor, line[written:])
            except OSError:
                with contextlib.suppress(OSError):  # a line that follows must not join a torn one
                    os.ftruncate(self._descriptor, size)
                raise
            if durable:
                os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file, which stays where it is; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def encode(event: EventJson) -> bytes:
    """Return an event as a journal line."""
    text = json.dumps(event, ensure_ascii=True, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode(line: bytes) -> EventJson | None:
    """Return the event of a journal line, None for a line that is torn or damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def damaged_lines(path: Path) -> list[int]:
    """Return the numbers, from 1, of the lines that are damaged.

    A last line without its end is not among them: a kill while it was written tears it, and what it
    recorded was never committed.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    return [
        number
        for number, line in enumerate(lines, start=1)
        if decode(line) is None and (line.endswith(b"\n") or number < len(lines))
    ]


def read_events(path: Path) -> Iterator[EventJson]:
    """Yield the whole events of a journal, in order."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            event = decode(line)
            if event is None:
                logger.warning("%s, line %d is torn or damaged; skipped", path, number)
            else:
                yield event
