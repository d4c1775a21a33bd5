"""SHA-256 of each sealed file, so that a bit that flips on disk is found.

A seal is a file of .batchgen/seals with the name of the sealed file and its hashes, one a line:
written before the sealed file is renamed into place, so that a kill in between leaves the hashes of
the old file and of the new one. Files of version 0.1.0 have none until they are written again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.errors import FolderError
from batchgen.storage.atomic import atomic_file, storage_errors, write_atomically
from batchgen.storage.folder import JobFolder
from batchgen.storage.hashes import sha256


@contextmanager
def atomic_parquet(
    path: Path,
    to_schema: pa.Schema,
    notes: dict[bytes, bytes],
    *,
    sealed_in: JobFolder | None = None,
) -> Iterator[pq.ParquetWriter]:
    """Write a Parquet file that appears complete when the block succeeds; see `atomic_file`.

    Args:
        path: Where the file goes.
        to_schema: Its columns.
        notes: Its key-value metadata.
        sealed_in: The job whose file it is; None for a file without a seal.
    """
    if sealed_in is None:
        with (
            atomic_file(path) as file,
            pq.ParquetWriter(file, to_schema.with_metadata(notes), compression="zstd") as writer,
        ):
            yield writer
        return
    folder, before = sealed_in, _before(sealed_in, path)
    with atomic_file(path, lambda: _write(folder, path, [*before, hashed.hexdigest()])) as file:
        hashed: Any = _HashedFile(file)
        with pq.ParquetWriter(hashed, to_schema.with_metadata(notes), compression="zstd") as writer:
            yield writer
    if before:
        _write(folder, path, [hashed.hexdigest()])


def _before(folder: JobFolder, path: Path) -> list[str]:
    """Return the hashes that the file which is replaced may have."""
    if not path.is_file():
        return []
    return sorted(_read(folder, path) or {sha256(path)})


class _HashedFile:
    """A file that is written from front to back, and hashed on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.closed = False

    def hexdigest(self) -> str:
        """Return the SHA-256 of what was written."""
        return self._digest.hexdigest()

    def write(self, block: bytes) -> int:
        """Write the next bytes."""
        self._digest.update(block)
        return self._file.write(block)

    def flush(self) -> None:
        """Pass on what is buffered."""
        self._file.flush()

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._file.tell()

    def close(self) -> None:
        """Stay open: the file is its opener's to close."""
        self.closed = True


def is_as_sealed(folder: JobFolder, path: Path) -> bool:
    """Return whether a sealed file has the bytes it was written with; True where it has no seal."""
    hashes = _read(folder, path)
    return hashes is None or sha256(path) in hashes


def refuse_altered(folder: JobFolder, path: Path) -> None:
    """Raise `FolderError` for a sealed file with other bytes than it was written with."""
    if not is_as_sealed(folder, path):
        raise FolderError(
            f"{path} has other bytes than batchgen wrote: its SHA-256 is not the one in "
            f"{_seal_of(folder, path)}. Run: batchgen verify --repair {folder.root}"
        )


def clear_seals(folder: JobFolder) -> None:
    """Delete seals of files that are gone; the caller holds the lock."""
    sealed = {folder.metadata.name}
    sealed |= {path.name for path in folder.parts.iterdir()} if folder.parts.is_dir() else set()
    for seal in folder.seals.iterdir() if folder.seals.is_dir() else ():
        if seal.name not in sealed:
            with storage_errors(seal):
                seal.unlink(missing_ok=True)


def _seal_of(folder: JobFolder, path: Path) -> Path:
    return folder.seals / path.name


def _write(folder: JobFolder, path: Path, hashes: list[str]) -> None:
    seal = _seal_of(folder, path)
    with storage_errors(seal):
        seal.parent.mkdir(exist_ok=True)
    write_atomically(seal, "".join(f"{text}\n" for text in hashes).encode())


def _read(folder: JobFolder, path: Path) -> set[str] | None:
    try:
        return set(_seal_of(folder, path).read_text(errors="replace").split())
    except FileNotFoundError:
        return None
