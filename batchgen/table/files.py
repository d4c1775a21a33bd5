"""The files of a table: one file, those of a folder, or those that a pattern matches."""

from __future__ import annotations

import glob
import hashlib
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from batchgen.config import shell
from batchgen.config.paths import absence, is_pattern
from batchgen.errors import TableError
from batchgen.storage.hashes import sha256
from batchgen.table.raw import file_errors

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
"""Suffix to the compression that text files may have; the names are pyarrow's."""

FORMATS = {
    ".csv": "CSV", ".tsv": "TSV", ".jsonl": "JSON Lines", ".ndjson": "JSON Lines",
    ".json": "JSON", ".txt": "text", ".parquet": "Parquet", ".pq": "Parquet",
}  # fmt: skip
"""Suffix to format."""

SUFFIXES = ".csv, .tsv, .jsonl, .ndjson, .json, .txt (each also .gz, .zst), .parquet, .pq"

_LOOKED_AT = 10_000
"""Files below a folder without a table among which one is looked for."""

_STANDARD_INPUT = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells a table's files from the same files after an edit."""

    size_bytes: int
    mtime_ns: int
    """The latest of all files."""
    inode: int
    """Of several files, a hash of their names, sizes, times and inodes."""
    n_files: int = 1


def suffix_of(path: Path) -> str:
    """Return the suffix that names a file's format, without that of a compression."""
    name = path.name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix


def format_of(path: Path) -> str | None:
    """Return the format that a file's name tells, or None for no table."""
    name = FORMATS.get(suffix_of(path))
    is_packed = path.suffix.lower() in COMPRESSIONS
    return None if name == "Parquet" and is_packed else name


def files_of(table: str | Path) -> list[Path]:
    """Return the files of a table, in natural order: part-2 before part-10.

    Of a folder, those with a table's suffix whose names do not begin with `.` or `_`.

    Raises:
        TableError: Nothing is there, or what is there is no table, or is of several formats.
    """
    text = str(table)
    _refuse_what_is_no_file(text)
    if is_pattern(text):
        return _of_one_format(text, list(_matched(text)))
    path = Path(table)
    with file_errors(path):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError as error:
            raise TableError(f"{path} {absence(path)}. Correct table=.") from error
    if stat.S_ISDIR(mode):
        return _of_one_format(text, list(_in_folder(path)))
    if not stat.S_ISREG(mode):
        raise TableError(f"{path} is not a regular file. Name the file of the prompt table.")
    return [path]


def stamp_of(files: Sequence[Path]) -> Stamp:
    """Return the stamp of a table's files. Raises `OSError` where one is gone."""
    found = [(path, path.stat()) for path in files]
    if len(found) == 1:
        status = found[0][1]
        return Stamp(status.st_size, status.st_mtime_ns, status.st_ino)
    marks = [(path.name, s.st_size, s.st_mtime_ns, s.st_ino) for path, s in found]
    digest = hashlib.sha256(repr(marks).encode("utf-8", "surrogatepass")).digest()
    size_bytes, latest = sum(s.st_size for _, s in found), max(s.st_mtime_ns for _, s in found)
    return Stamp(size_bytes, latest, int.from_bytes(digest[:7], "big"), len(found))


def content_hash(files: Sequence[Path]) -> str:
    """Return the SHA-256 of a table's bytes; of several files, that of their hashes and names.

    The second is the hash of what the command `sha256sum` prints for them in their folder.
    """
    hashes = []
    for path in files:
        with file_errors(path):
            hashes.append(sha256(path))
    if len(hashes) == 1:
        return hashes[0]
    lines = (f"{one}  {path.name}\n" for one, path in zip(hashes, files, strict=True))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def _refuse_what_is_no_file(text: str) -> None:
    if text in _STANDARD_INPUT:
        raise TableError(
            f"table={text} is standard input, and a table is read more than once. Write it to a "
            "file first: ... > prompts.csv, then table=prompts.csv."
        )
    scheme = re.match(r"([a-z][a-z0-9+.-]*)://", text, re.IGNORECASE)
    if scheme and not Path(text).exists():
        cure = "Copy it to this machine first, and name that file."
        if scheme[1].lower() in ("http", "https"):
            cure = f"Fetch it first: {shell.command('curl', '-fLO', text)}"
        raise TableError(f"table={text} is a URL, and tables are read from files. {cure}")


def _in_folder(folder: Path) -> Iterator[Path]:
    with file_errors(folder):
        tables = [path for path in folder.iterdir() if not path.name.startswith((".", "_"))]
    found = [path for path in tables if format_of(path) and path.is_file()]
    if not found:
        below = (path for path in islice(folder.glob("**/*"), _LOOKED_AT) if format_of(path))
        first = next(below, None)
        cure = f"Tables are: {SUFFIXES}."
        if first is not None:
            pattern = f"{folder}/**/*{first.suffix}"
            cure = f"For those of its subfolders: {shell.override('table', pattern)}"
        raise TableError(f"{folder} is a folder without a table in it. {cure}")
    yield from found


def _matched(pattern: str) -> Iterator[Path]:
    names = glob.iglob(pattern, recursive=True)  # noqa: PTH207 - Path's takes no absolute pattern
    found = [path for path in map(Path, names) if path.is_file()]
    if not found:
        raise TableError(f"table={pattern} matches no file. Correct it.")
    for path in found:
        if not format_of(path):
            raise TableError(
                f"table={pattern} matches {path}, which has no suffix of a table. Tables are: "
                f"{SUFFIXES}."
            )
    yield from found


def _of_one_format(table: str, files: list[Path]) -> list[Path]:
    files.sort(key=_natural)
    of_other = next((path for path in files if format_of(path) != format_of(files[0])), None)
    if of_other is not None:
        pattern = str(Path(table) / "*") if not is_pattern(table) else table
        pattern = re.sub(r"\*[^/*]*$", f"*{files[0].suffix}", pattern)
        raise TableError(
            f"table={table} holds files of two formats, {files[0].name} and {of_other.name}. "
            f"Choose those of one: {shell.override('table', pattern)}."
        )
    return files


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Return a key that sorts numbers in names by their value."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
