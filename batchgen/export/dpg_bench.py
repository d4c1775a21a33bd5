"""`dpg-bench`: four images of a row on one picture, as DPG-Bench cuts them out of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import groupby

from batchgen.export.gathering import Entry
from batchgen.export.handover import Handover
from batchgen.export.reencoding import quartered
from batchgen.export.samples import Sample

_N_IMAGES = 4
_MOST_BYTES = 255


def dpg_bench(handover: Handover) -> None:
    """Write KEY.png, two images by two; the row key is the name of the prompt's file.

    The script takes every file of the folder for a picture, so nothing else is in it.
    """
    four: list[Sample] = []
    for _, sample in handover.samples(of_whole_rows=True):
        four.append(sample)
        if len(four) == _N_IMAGES:
            handover.write(f"{sample.entry.row['row_key']}.png", quartered(four))
            four = []


def misfits(entries: Iterable[Entry]) -> Iterator[str]:
    """Name rows that have not four square images of the one size, or no name for a file."""
    side = None
    for _, of_row in groupby(entries, key=lambda entry: entry.row_number):
        n_images, sizes = 0, set()
        for entry in of_row:
            n_images += 1
            sizes.add((entry.row["width"], entry.row["height"]))
        key = str(entry.row["row_key"])
        side = side or entry.row["width"]
        if n_images != _N_IMAGES:
            yield f"row {key!r}: has {n_images} images, and four are needed"
        if sizes != {(side, side)}:
            named = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
            yield f"row {key!r}: has images of {named}, and all must be {side}x{side}"
        if not key or set("./") & set(key) or len(os.fsencode(key)) > _MOST_BYTES - len(".png"):
            yield f"row {key!r}: its key is no name of a prompt's file: no dot, no /, 251 bytes"
