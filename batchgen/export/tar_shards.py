"""`webdataset`: tar files in which picture, text and row of an image stand side by side."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from datetime import date, time
from typing import Any

from batchgen.export import handover as sizes
from batchgen.export.handover import Handover
from batchgen.storage.atomic import atomic_file


def tar_shards(handover: Handover) -> None:
    """Write `00000.tar`, `00001.tar`, ... with `000000000.png`, `.txt` and `.json` for each image.

    A name up to its first dot is the key of a sample, so keys are digits. The text is the prompt;
    the JSON has the columns, times in ISO 8601. The same images give the same bytes.
    """
    for shard, samples in handover.runs(sizes.FILE_BYTES):
        with (
            atomic_file(handover.place / f"{shard:05d}.tar") as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar,
        ):
            for number, sample in samples:
                row = handover.row(sample.entry)
                text = json.dumps(row, ensure_ascii=False, default=_as_json)
                _add(tar, f"{number:09d}{sample.entry.suffix}", sample.content)
                _add(tar, f"{number:09d}.txt", _utf8(str(sample.entry.row["text"])))
                _add(tar, f"{number:09d}.json", _utf8(text))


def _as_json(value: Any) -> str:
    """Return what JSON has no form for: bytes in base64, times in ISO 8601."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value.isoformat() if isinstance(value, date | time) else value)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # of nobody, at no time
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
