"""`hpsv2`: a folder a style, with JPEG files numbered as the prompts are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from batchgen.export.gathering import Entry
from batchgen.export.handover import Handover
from batchgen.export.reencoding import as_jpeg

NEEDS = ("style",)
STYLES = ("anime", "concept-art", "paintings", "photo")


def hpsv2(handover: Handover) -> None:
    """Write anime/00000.jpg and so on: the number is that of the prompt among those of its style.

    The script lists the folder to learn the styles, so nothing else is in it.
    """
    names = islice(_names(handover.entries()), handover.n_before, None)
    for name, (_, sample) in zip(names, handover.samples(), strict=True):
        handover.write(name, as_jpeg(sample))


def misfits(entries: Iterable[Entry]) -> Iterator[str]:
    """Name rows of another style or of several images, and gaps, which would shift the numbers."""
    expected = 0
    for entry in entries:
        named, index = f"row {entry.row['row_key']!r}", entry.row["row_index"]
        if entry.row["style"] not in STYLES:
            yield f"{named}: style is {entry.row['style']!r}, and must be one of {list(STYLES)}"
        if entry.position:
            yield f"{named}: has several images; --where 'image_index = 0' takes the first"
        elif index != expected:
            yield (
                f"{named}: is row {index:,} of its table, and {expected:,} was to come next; a "
                "picture's number is its prompt's, so all of one job are needed, shards merged"
            )
        expected = index + 1


def _names(entries: Iterable[Entry]) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for entry in entries:
        style = str(entry.row["style"])
        yield f"{style}/{counts[style]:05d}.jpg"
        counts[style] += 1
