"""What a job has done, as the arrays that its table is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchgen.errors import FolderError
from batchgen.ledger.contents import Contents
from batchgen.ledger.image_names import ImageNames, Missing
from batchgen.ledger.reader import keys_of, live_tables
from batchgen.plan.backlog import Finished
from batchgen.plan.fingerprint import Hashes, from_hex, text_hash
from batchgen.storage.folder import JobFolder


def load_finished(
    contents: Contents,
    same: Mapping[str, str] = MappingProxyType({}),
    names: ImageNames | None = None,
) -> tuple[Finished, Missing]:
    """Return what is done as sorted columns: 20 bytes an image, 24 with long file names.

    Args:
        contents: What the folder holds.
        same: Environment of a row to the one it is as good as, where that is another.
        names: The files that are there; images without a file are not done. None looks for none.

    Returns:
        What is done, and how many images without a file were left out.
    """
    missing = Missing()
    n_most = sum(source.n_rows for source in contents.sources)
    key = np.empty(n_most, dtype=np.uint64)
    mark = np.empty(n_most, dtype=np.uint64)
    number: NDArray[Any] = np.empty(n_most, dtype=np.uint32)
    columns = ["row_key", "image_index", "row_index", "file_name", "fingerprint", "environment"]
    n = 0
    for source, rows in live_tables(contents, columns):
        table = rows if names is None else _with_file(rows, names, missing)
        stretch = slice(n, n + table.num_rows)
        key[stretch] = keys_of(table)
        mark[stretch] = from_hex(table["fingerprint"]) ^ _environments(table["environment"], same)
        numbers = _numbers(source.path, table)
        if len(numbers) and numbers.max() > np.iinfo(number.dtype).max:
            number = number.astype(np.int64)
        number[stretch] = numbers
        n += table.num_rows
    order = np.argsort(key[:n])
    # One after the other, so that no two columns are there twice.
    key, mark, number = key[:n], mark[:n], number[:n]
    key = key[order]
    mark = mark[order]
    number = number[order]
    return Finished(key, mark, number), missing


def _with_file(table: pa.Table, names: ImageNames, missing: Missing) -> pa.Table:
    is_missing = names.missing(table["file_name"])
    missing.add(table["file_name"], is_missing)
    return table.filter(pc.invert(is_missing))


def _environments(column: Any, same: Mapping[str, str]) -> Hashes:
    encoded = column.combine_chunks().dictionary_encode()
    texts = [same.get(text, text) for text in encoded.dictionary.to_pylist()]
    hashes = np.array([text_hash(text) for text in texts], np.uint64)
    chosen: Hashes = hashes[encoded.indices.to_numpy()]
    return chosen


def _numbers(path: Path, table: pa.Table) -> NDArray[np.int64]:
    """Return the numbers in the file names; the row index, where the name is of usual length."""
    numbers = np.array(table["row_index"].to_numpy(), dtype=np.int64)
    separator = pc.utf8_slice_codeunits(table["file_name"], 12, 13).to_numpy()
    for position in np.flatnonzero(separator != "/"):
        name = table["file_name"][int(position)].as_py()
        number = JobFolder.image_number(name)
        if number is None:
            raise FolderError(
                f"{path} has a row whose image is {name!r}, which no job writes. Put the job's own "
                "metadata back, or choose another name=."
            )
        numbers[position] = number
    return numbers
