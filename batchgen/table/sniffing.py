"""What a file really is, by its first bytes; one that is no table is named, with a way out."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from batchgen.config import shell
from batchgen.errors import TableError
from batchgen.table.files import COMPRESSIONS, suffix_of
from batchgen.table.raw import file_errors

_HEAD_BYTES = 4096

_SPREADSHEET = "Open it in a spreadsheet and save it as CSV in UTF-8."
_NO_TABLE = "Name the table itself."
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a pointer of git-lfs", "Run git lfs pull in its folder."),
    (b"BZh", "compressed with bzip2", "bunzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz", "unxz"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel file", _SPREADSHEET),
    (b"\x80\x04\x95", "a pickle", "Write it as Parquet: df.to_parquet('table.parquet')."),
    (b"SQLite format 3\x00", "a SQLite database", "Write the rows of one of its tables as CSV."),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture", _NO_TABLE),
    (b"\xff\xd8\xff", "a JPEG picture", _NO_TABLE),
    (b"GIF8", "a GIF picture", _NO_TABLE),
    (b"%PDF-", "a PDF document", _NO_TABLE),
    (b"ARROW1\x00\x00", "an Arrow (Feather) file", "read_feather"),
    (b"<?xml", "an XML document", _NO_TABLE),
)  # fmt: skip
"""How a file begins, what it is then, and what to do: a sentence, a command that takes the file, or
a reader of pandas."""

_PACKED = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}
"""Suffix of a compression to how such a file begins."""
_PARQUET = b"PAR1"
_HTML = re.compile(rb"\s*(?:<!doctype html|<html\b|<head\b|<body\b)", re.IGNORECASE)
_ENCODINGS = {b"\xff\xfe\x00\x00": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def refuse_other_kinds_of_file(path: Path, encoding: str) -> None:
    """Raise `TableError` for a file whose content is not what its name says.

    Args:
        path: A file with a table's suffix.
        encoding: `reading.encoding`; UTF-16 is only named where it is not expected.
    """
    with file_errors(path), path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    is_parquet = suffixes[-1:] in ([".parquet"], [".pq"])
    if _refuse_other_compression(path, head):
        return
    if head.startswith(_PARQUET):
        if not is_parquet:
            raise _refusal(path, "a Parquet file", f"Rename it: {_mv(path, '.parquet')}.")
        return
    if head.startswith(b"PK\x03\x04"):
        raise _refusal(path, *_kind_of_zip(path))
    for magic, kind, cure in _MAGIC:
        if head.startswith(magic):
            raise _refusal(path, kind, _cure(path, cure))
    if _HTML.match(head):
        cure = "It may be the page of a link; download the file that the page is about."
        raise _refusal(path, "an HTML page", cure)
    if not is_parquet:
        _refuse_other_text(path, head, encoding)
        if suffix_of(path) == ".json" and not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            raise TableError(f"{path} {json_kind(path)}")


def _refuse_other_compression(path: Path, head: bytes) -> bool:
    """Return whether a file is packed, or raise where its name says something else."""
    named = path.suffix.lower()
    suffix = next((one for one, magic in _PACKED.items() if head.startswith(magic)), None)
    if suffix is not None and suffix != named:
        cure = f"Rename it: {_mv(path, suffix)}."
        if named in _PACKED:
            cure = f"Rename it: {shell.command('mv', path, path.with_suffix(suffix))}."
        raise _refusal(path, f"compressed with {COMPRESSIONS[suffix]}", cure)
    if suffix is None and named in _PACKED and head:
        cure = f"Rename it: {shell.command('mv', path, path.with_suffix(''))}."
        raise _refusal(path, f"not compressed with {COMPRESSIONS[named]}", cure)
    return suffix is not None


def _refuse_other_text(path: Path, head: bytes, encoding: str) -> None:
    """Raise for UTF-16 or UTF-32, with a mark or without, where another encoding is expected."""
    if encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")):
        return
    marked = next((name for mark, name in _ENCODINGS.items() if head.startswith(mark)), None)
    if marked is None and b"\x00" in head:
        even, odd = head[0::2].count(0), head[1::2].count(0)
        if max(even, odd) * 4 > len(head):
            marked = "utf-16-le" if odd > even else "utf-16-be"
    if marked is not None:
        name = marked.upper().removesuffix("-LE").removesuffix("-BE")
        raise _refusal(path, f"{name} text", f"Set reading.encoding={marked}.")


def _kind_of_zip(path: Path) -> tuple[str, str]:
    """Return what a zip archive is, and what to do."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return "a broken zip archive", _NO_TABLE
    if any(name.startswith("xl/") for name in names):
        return "an Excel file (.xlsx)", _SPREADSHEET
    if "content.xml" in names:
        return "an OpenDocument spreadsheet", _SPREADSHEET
    return "a zip archive", f"Unpack it: {shell.command('unzip', path)}"


def json_kind(path: Path) -> str:
    """Return what a .json file holds, in words, with a command that makes a table of it."""
    load = f"import json, pandas as pd; d = json.load(open({str(path)!r}))"
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            return f"holds more than one JSON value, as JSON Lines do. Rename it: {_mv(path, 'l')}."
        return "is not JSON. Name a table, such as JSON Lines with a prompt in each object."
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        what = "holds captions as COCO has them"
        code = "pd.DataFrame(d['annotations']).to_csv('table.csv', index=False)"
    elif isinstance(content, dict) and _has_rows(content):
        what = "holds JSON objects by key"
        code = "pd.DataFrame.from_dict(d, orient='index').to_csv('table.csv', index_label='id')"
    elif isinstance(content, dict):
        return 'holds one JSON object. Write an array of them, such as [{"prompt": "a cat"}].'
    else:
        return "holds no rows. Name a table, such as JSON Lines with a prompt in each object."
    return f"{what}. Make a table of it: {shell.command('python', '-c', f'{load}; {code}')}"


def _has_rows(content: dict[str, object]) -> bool:
    return bool(content) and all(isinstance(one, dict) for one in content.values())


def _cure(path: Path, cure: str) -> str:
    if cure.startswith("read_"):
        code = f"import pandas as pd; pd.{cure}({str(path)!r}).to_csv('table.csv', index=False)"
        return f"Make a table of it: {shell.command('python', '-c', code)}"
    return cure if " " in cure else f"Unpack it: {shell.command(cure, str(path))}"


def _mv(path: Path, suffix: str) -> str:
    return shell.command("mv", str(path), f"{path}{suffix}")


def _refusal(path: Path, kind: str, cure: str) -> TableError:
    return TableError(f"{path} is {kind}. {cure}")
