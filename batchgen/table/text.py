"""Text files: decoding, and cutting a stream of rows into chunks of bounded memory."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import pyarrow as pa

from batchgen.errors import TableError
from batchgen.table.files import COMPRESSIONS
from batchgen.table.raw import file_errors, shown

PIECE_ROWS = 256
"""Rows parsed at once. Below the 700 objects that wake Python's garbage collector, whose walks
over larger pieces doubled the time of reading (1 M rows: 0.57 s, against 1.15 s in one go)."""

CHUNK_BYTES = 2**25
"""A chunk ends early where its text is larger than this, so that wide cells stay in memory too."""

Piece = TypeVar("Piece")


@contextmanager
def open_text(path: Path, encoding: str, newline: str | None = None) -> Iterator[io.TextIOWrapper]:
    """Open a text file, unpacked if it ends in .gz or .zst, after its byte order mark.

    Bytes that the encoding does not know become lone surrogates, which `string_column` refuses.
    All that can go wrong while it is open is raised as a TableError.
    """
    try:
        with file_errors(path), _decoded(path, encoding, newline) as stream:
            has_mark = stream.read(1) == "\ufeff"
        with file_errors(path), _decoded(path, encoding, newline) as stream:
            if has_mark:
                stream.read(1)
            yield stream
    except UnicodeError as error:
        raise TableError(
            f"{path} is not {encoding} text: {error}. Set reading.encoding."
        ) from error


@contextmanager
def _decoded(path: Path, encoding: str, newline: str | None) -> Iterator[io.TextIOWrapper]:
    with open_binary(path) as binary:
        yield io.TextIOWrapper(binary, encoding, errors="surrogateescape", newline=newline)


def open_binary(path: Path) -> BinaryIO:
    """Open a file for its bytes, unpacked if its name says that it is packed."""
    compression = COMPRESSIONS.get(path.suffix.lower())
    if compression == "gzip":
        return cast("BinaryIO", gzip.open(path, "rb"))
    if compression == "zstd":
        return io.BufferedReader(_Unpacked(path))
    return path.open("rb")


class _Unpacked(io.RawIOBase):
    """A file packed with zstd; `tell` counts the bytes that were unpacked."""

    def __init__(self, path: Path) -> None:
        self._file = pa.input_stream(str(path), "zstd")
        self._n_read = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there is something left."""
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        self._n_read += len(block)
        return len(block)

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._n_read

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def pieced(
    read: Callable[[int], tuple[int, Piece] | None],
    stream: io.TextIOWrapper,
    first_row: int,
    chunk_rows: int,
) -> Iterator[tuple[int, list[Piece]]]:
    """Yield the index of a chunk's first row, and the chunk's pieces.

    `read(n)` takes n records off the file and answers how many rows they hold (blank lines are
    none) with the rows in a form of its own, or None at the end. `stream` is where it reads.
    """
    index = 0
    while index < first_row:
        piece = read(min(PIECE_ROWS, first_row - index))
        if piece is None:
            return
        index += piece[0]
    has_ended = False
    while not has_ended:
        first, start, pieces = index, bytes_read(stream), []
        while index - first < chunk_rows and bytes_read(stream) - start < CHUNK_BYTES:
            piece = read(min(PIECE_ROWS, chunk_rows - (index - first)))
            if piece is None:
                has_ended = True
                break
            index += piece[0]
            pieces.append(piece[1])
        if index > first:
            yield first, pieces


def bytes_read(stream: io.TextIOWrapper) -> int:
    """Return how far into the unpacked file the decoder is; ahead of the rows by one buffer."""
    return cast("BinaryIO", stream.buffer).tell()


def string_column(
    cells: Sequence[str | None], found: Callable[[int, str], TableError]
) -> pa.StringArray:
    """Return cells as an Arrow column; raise `found(position, cell)` for a lone surrogate."""
    try:
        return pa.array(cells, pa.string())
    except UnicodeEncodeError as error:
        bad = next((i, cell) for i, cell in enumerate(cells) if cell and not is_text(cell))
        raise found(*bad) from error


def is_text(cell: str) -> bool:
    """Tell whether a text is free of the lone surrogates that stand for undecodable bytes."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True


def undecodable(path: Path, encoding: str, where: str, cell: str) -> TableError:
    """Return the error for a cell with bytes that `encoding` does not know.

    Names an encoding that would fit, and what the cell would read; it is for the user to judge.
    """
    with open_binary(path) as binary:
        if binary.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return TableError(
                f"{path} is UTF-16 text, not {encoding}. Set reading.encoding=utf-16."
            )
    cure = "Save the table as UTF-8, or set reading.encoding to what it is."
    for other in ("gb18030", "cp1252"):
        try:
            text = cell.encode(encoding, "surrogateescape").decode(other)
        except UnicodeError:
            continue
        cure = (
            f"Set reading.encoding={other} if {shown(text)} is what it should read, "
            "else save the table as UTF-8."
        )
        break
    return TableError(
        f"{path}, {where} has {shown(cell)}, which holds bytes that are not {encoding}. {cure}"
    )
