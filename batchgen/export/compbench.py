"""`t2i-compbench`: prompts as names of files, as T2I-CompBench's scripts read them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from batchgen.export.gathering import Entry
from batchgen.export.handover import Handover

_MOST_BYTES = 255
"""Of a file's name on the file systems of Linux."""
_SHOWN = 60


def compbench(handover: Handover) -> None:
    """Lay out each image as samples/PROMPT_000000.png, numbered from 0 over all.

    The scripts sort by the number, and take what stands before the first `_` as the prompt.
    """
    for _, sample in handover.samples():
        handover.put(f"samples/{_name(sample.entry)}", sample)


def misfits(entries: Iterable[Entry]) -> Iterator[str]:
    """Name rows whose prompt cannot be read back from a file's name."""
    for entry in entries:
        prompt = str(entry.row["text"])
        held = [character for character in "_/" if character in prompt]
        size = len(os.fsencode(_name(entry)))
        if held:
            reason = f"holds {held[0]!r}, which no prompt in a file's name may have"
        elif size > _MOST_BYTES:
            reason = f"makes a file's name of {size} bytes, and {_MOST_BYTES} are the most"
        else:
            continue
        shown = prompt if len(prompt) <= _SHOWN else f"{prompt[:_SHOWN]}..."
        yield f"row {entry.row['row_key']!r}: the prompt {shown!r} {reason}"


def _name(entry: Entry) -> str:
    return f"{entry.row['text']}_{entry.number:06d}{entry.suffix}"
