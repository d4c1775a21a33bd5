"""`flat`: a folder of pictures, as clean-fid and pytorch-fid read it."""

from __future__ import annotations

from batchgen.export.handover import Handover


def flat(handover: Handover) -> None:
    """Lay out each image as `000000000.png`, numbered from 0."""
    for number, sample in handover.samples():
        handover.put(f"{number:09d}{sample.entry.suffix}", sample)
