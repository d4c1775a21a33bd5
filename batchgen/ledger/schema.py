"""The columns of metadata.parquet and failures.parquet: name, type and meaning of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

from batchgen.config.settings import SETTINGS


class Column(NamedTuple):
    """A column of a Parquet file that batchgen writes."""

    name: str
    type: pa.DataType
    meaning: str
    repeats: bool = True
    """False where two runs of the same job may differ: times, memory, who made it and when."""


_TEXT, _LONG, _SECONDS = pa.string(), pa.int64(), pa.float64()
_TIME = pa.timestamp("us", tz="UTC")

_IMAGE = (
    Column("row_key", _TEXT, "the row's `id`, or its row index as text"),
    Column("row_index", _LONG, "which row of the table when the image was made, from 0"),
    Column("image_index", pa.int32(), "which image of the row, from 0"),
)
_ARROW: dict[type, pa.DataType] = {
    str: _TEXT, int: pa.int32(), float: pa.float64(), bool: pa.bool_(),
}  # fmt: skip
_FIRST = (
    "prompt", "prompt_2", "negative_prompt", "seed", "steps", "guidance_scale", "guidance_rescale",
    "cfg_cutoff", "clip_skip", "scheduler", "lora", "timestep_spacing", "long_prompt", "weighting",
    "width", "height",
)  # fmt: skip
"""The settings of 0.1.0 in the order of its columns; later ones come behind."""


def _setting_columns() -> Iterator[Column]:
    for name in dict.fromkeys((*_FIRST, *SETTINGS)):
        row = SETTINGS[name]
        kind = _LONG if name == "seed" else _ARROW[row.kind]
        yield Column(row.metadata_column, kind, row.meaning)
        if name == "seed":
            yield Column("rng", _TEXT, "the noise source: numpy's bit generator")


_SETTINGS = tuple(_setting_columns())

METADATA = (
    Column("file_name", _TEXT, "the image, relative to the job's folder"),
    *_IMAGE,
    *_SETTINGS,
    Column("model", _TEXT, "the model's name in the config"),
    Column("model_revision", _TEXT, "hash of the model's files; `fake-1` for the fake"),
    Column(
        "lora_revisions",
        _TEXT,
        "hashes of the files of `lora`, as `film:<16 digits>`; empty without",
    ),
    Column("dtype", _TEXT, "floating-point type the model computed in"),
    Column("device", _TEXT, "`ascend` or `cpu`"),
    Column(
        "token_count", pa.int32(), "tokens of `text`, without the two marks; null for model=fake"
    ),
    Column(
        "truncated",
        pa.bool_(),
        "whether the end of prompt, prompt_2 or negative prompt was not seen; null for model=fake",
    ),
    Column(
        "batch_id",
        _TEXT,
        "hash of the make-up of the batch: which images were in it, in which order",
    ),
    Column("batch_position", pa.int32(), "the image's place in its batch, from 0"),
    Column("batch_size", pa.int32(), "images that were denoised together"),
    Column(
        "rung",
        _TEXT,
        "rung of the memory ladder the batch was made on; empty at the bottom, and `tiling` alone "
        "where `model.vae_tiling` asked for it",
    ),
    Column("vae_float32", pa.bool_(), "made with the VAE raised to float32 after a blank picture"),
    Column(
        "warm_up",
        pa.bool_(),
        "the model's first batch of its shape in that start: kernels were compiled, memory taken",
        False,
    ),
    Column("latency_s", _SECONDS, "seconds of the batch divided by its size", False),
    Column("encode_s", _SECONDS, "seconds of the batch spent on text embeddings", False),
    Column("denoise_s", _SECONDS, "seconds of the batch spent on denoising", False),
    Column("decode_s", _SECONDS, "seconds of the batch spent in the VAE", False),
    Column(
        "peak_memory_bytes",
        _LONG,
        "most memory in MindSpore's pool on the NPU during the batch; on a CPU, of the process",
        False,
    ),
    Column("pixel_sha256", _TEXT, "SHA-256 of the RGB bytes, row by row, before encoding"),
    Column("file_sha256", _TEXT, "SHA-256 of the image file"),
    Column("fingerprint", _TEXT, "hash of the resolved settings and of the model's identity"),
    Column(
        "environment", _TEXT, "hash of batch size, versions, device, dtype, file format and tiling"
    ),
    Column("attempt", pa.int32(), "which try succeeded, from 1", False),
    Column("run_id", _TEXT, "the start of the job that made the image", False),
    Column("created_at", _TIME, "when the image was committed, UTC", False),
)
"""After these come the table's own columns."""

FAILURES = (
    *_IMAGE,
    *_SETTINGS,
    Column("attempt", pa.int32(), "tries that failed so far", False),
    Column("is_final", pa.bool_(), "no tries left, unless `retry.failed=true` gives new ones"),
    Column("error_type", _TEXT, "class of the error"),
    Column("message", _TEXT, "what it said"),
    Column("traceback", _TEXT, "its last frames"),
    Column("batch_size", pa.int32(), "images in the batch of the last try"),
    Column("fingerprint", _TEXT, "as in metadata.parquet"),
    Column("run_id", _TEXT, "the start of the job that saw the last failure", False),
    Column("failed_at", _TIME, "when it failed last, UTC", False),
)


def schema(columns: tuple[Column, ...], carried: pa.Schema | None = None) -> pa.Schema:
    """Return the Arrow schema of a file: the columns, then the table's own, renamed on a clash."""
    fields = [pa.field(column.name, column.type) for column in columns]
    fields += [pa.field(carried_name(field.name), field.type) for field in carried or ()]
    return pa.schema(fields)


def carried_name(name: str) -> str:
    """Return what a column of the table is called in the metadata.

    A name of ours gets the prefix `table_`, and so do the names that the ImageFolder reader of
    `datasets` takes for pictures: `image`, and all that end in `_file_name`.
    """
    core = name.rstrip("_")
    while core.startswith("table_"):
        core = core.removeprefix("table_")
    taken = {column.name for column in METADATA} | {"image"}
    if core.casefold() not in taken and not core.endswith("_file_name"):
        return name
    return f"table_{name}_" if core.endswith("file_name") else f"table_{name}"
