"""The layouts by name, and what each needs of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from batchgen.export import compbench, dpg_bench, geneval, hpsv2
from batchgen.export.flat import flat
from batchgen.export.gathering import Entry
from batchgen.export.handover import Handover
from batchgen.export.image_copy import image_copy
from batchgen.export.picture_parquet import picture_parquet
from batchgen.export.reencoding import QUALITY
from batchgen.export.tar_shards import tar_shards


def nothing(entries: Iterable[Entry]) -> Iterator[str]:
    """Find nothing wrong with any image."""
    for _ in entries:
        yield from ()


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay images out."""

    lay_out: Callable[[Handover], None]
    problems: Callable[[Iterable[Entry]], Iterator[str]] = nothing
    """Yields in words, by row, what the layout cannot hold; takes all images."""
    needs: tuple[str, ...] = ()
    """Columns that a table must have."""
    can_link: bool = False
    """Whether its pictures can be hard links: they are files, as they are."""
    data_files: tuple[str, ...] = ()
    """Patterns of the files that `datasets` reads; there the columns go along."""
    has_card: bool = True
    """Whether a dataset card may be beside the pictures."""
    remark: str = ""
    """What is said at the end, of pictures that are not the job's own bytes."""


LAYOUTS = {
    "webdataset": Layout(tar_shards, data_files=("*.tar",)),
    "parquet": Layout(picture_parquet, data_files=("*.parquet",)),
    "imagefolder": Layout(image_copy, can_link=True, data_files=("metadata.parquet", "images/**")),
    "flat": Layout(flat, can_link=True),
    "geneval": Layout(geneval.geneval, geneval.misfits, geneval.NEEDS),
    "t2i-compbench": Layout(compbench.compbench, compbench.misfits, can_link=True),
    "hpsv2": Layout(
        hpsv2.hpsv2,
        hpsv2.misfits,
        hpsv2.NEEDS,
        has_card=False,
        remark=f"those that were no JPEG are encoded anew, quality {QUALITY}",
    ),
    "dpg-bench": Layout(
        dpg_bench.dpg_bench, dpg_bench.misfits, has_card=False, remark="four on each picture"
    ),
}
"""The names that `--to` takes."""
