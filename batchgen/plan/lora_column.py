"""The column `lora` of resolved settings: one text for each set of adapters, and its identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from batchgen.config import lora
from batchgen.config.job import JobConfig, unknown_adapter
from batchgen.errors import TableError
from batchgen.table import Rows

_compute: Any = pc


def lora_texts(rows: Rows, config: JobConfig) -> Any:
    """Return the adapters of each row in canonical form: the row's own, else the job's.

    Raises `TableError` for a row that names an adapter the job does not have.
    """
    default = pa.scalar(config.sampling.lora, pa.string())
    column: Any = _compute.fill_null(rows.settings["lora"], default)

    def canonical(text: str) -> str:
        weights = lora.weights_of(text)
        unknown = next((name for name in weights if name not in config.adapters), None)
        if unknown is not None:
            row = rows.first_index + _compute.index(column, text).as_py()
            raise TableError(
                f"row {row}: lora {text!r} {unknown_adapter(unknown, config)}, or "
                "reading.columns.lora='' to carry the column only."
            )
        return lora.written(weights)

    return _each(column, canonical)


def identified(texts: Any, revisions: Mapping[str, str]) -> Any:
    """Return canonical texts with the revision behind each name: `film@<16 digits>:0.5`."""

    def named(text: str) -> str:
        weights = lora.weights_of(text)
        return lora.written({f"{name}@{revisions[name]}": w for name, w in weights.items()})

    return _each(texts, named)


def _each(texts: Any, change: Callable[[str], str]) -> Any:
    """Return a column changed text by text, each distinct one once."""
    coded = _compute.dictionary_encode(texts)
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    values = [change(text) for text in coded.dictionary.to_pylist()]
    return pa.array(values, pa.string()).take(coded.indices)
