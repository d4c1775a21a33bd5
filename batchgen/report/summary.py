"""What all images of a job have in common, and in what they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchgen.config.counts import counted
from batchgen.errors import FolderError
from batchgen.ledger.reader import rows_in_order
from batchgen.storage.folder import JobFolder

_FORMS: Mapping[str, Callable[[Any], str]] = {
    "model": str,
    "steps": lambda steps: counted(steps, "step"),
    "guidance_scale": "guidance {:g}".format,
    "scheduler": str,
    "size": str,
    "seed": "seed {}".format,
    "negative_prompt": "negative: {}".format,
}
"""Settings in the order they are shown in, and how."""

_COLUMNS = ("file_name", "text", "width", "height", *(_FORMS.keys() - {"size"}))
"""`size` is made here of width and height."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known of a job's images after reading their metadata once."""

    common: str
    """The settings that all images share, in words."""
    varying: tuple[str, ...]
    """The settings in which images differ."""
    n_images: int
    n_per_row: int
    """The most images that a row of the table has."""
    width: int
    height: int
    """Of the widest and of the highest image, in pixels."""

    def differences(self, row: Mapping[str, Any]) -> str:
        """Return in words what sets an image apart; `row` is its metadata, with `size`."""
        return _words(row, self.varying)


def tables(folder: JobFolder) -> Iterator[pa.Table]:
    """Yield what a report needs of the metadata, in order, with `size` in words.

    Some ten thousand rows a table; safe beside a running job.
    """
    for table in rows_in_order(folder, _COLUMNS):
        sides: Any = [table[name].cast(pa.string()) for name in ("width", "height")]
        yield table.append_column("size", pc.binary_join_element_wise(*sides, "x"))


def summarise(folder: JobFolder) -> Summary:
    """Read the metadata of a job and return what its images have in common.

    Raises `FolderError` for a folder that is not a job, or has no finished image yet.
    """
    values: dict[str, set[Any]] = {name: set() for name in _FORMS}
    n_images, last_index, width, height = 0, 0, 0, 0
    for table in tables(folder):
        n_images += table.num_rows
        last_index = max(last_index, pc.max(table["image_index"]).as_py())
        width = max(width, pc.max(table["width"]).as_py())
        height = max(height, pc.max(table["height"]).as_py())
        for name, seen in values.items():
            seen.update(pc.unique(table[name]).to_pylist()[:2])  # two are enough to differ
    if not n_images:
        raise FolderError(f"{folder.root} has no finished image yet; there is nothing to show.")
    common = {name: seen.pop() for name, seen in values.items() if len(seen) == 1}
    varying = tuple(name for name in _FORMS if name not in common)
    return Summary(_words(common, common), varying, n_images, last_index + 1, width, height)


def _words(row: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return settings in words; what is null or empty is left out."""
    told = [name for name in names if row[name] not in (None, "")]
    return ", ".join(_FORMS[name](row[name]) for name in told)
