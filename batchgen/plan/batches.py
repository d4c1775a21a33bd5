"""From rows to images to batches: which images a job has, and which are made together.

Pure: reads rows, asks nothing of disk, device or clock. Works in columns; a Python object exists
only for an image that is about to be made.

Batches are cut inside windows of rows whose length depends on the config alone, so what is in a
batch never depends on what is already done, on `limit`, or on where an earlier start stopped.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchgen.config.job import JobConfig
from batchgen.config.validation import SEED_LIMIT
from batchgen.errors import TableError
from batchgen.plan.fingerprint import (
    Hashes,
    as_hex,
    derived_seeds,
    fingerprints,
    image_keys,
    settings_hashes,
    text_hashes,
)
from batchgen.plan.lora_column import identified, lora_texts
from batchgen.plan.requests import ImageRequest, Settings
from batchgen.table import Rows

_WINDOW_BATCHES = 64
_CHUNK_IMAGES = 16384
_SHARED = (
    "steps", "guidance_scale", "guidance_rescale", "cfg_cutoff", "width", "height", "scheduler",
    "lora",
)  # fmt: skip
"""What rows may differ in and a call of the pipeline shares."""


@dataclass(frozen=True, slots=True)
class ImageColumns:
    """The images of a run of rows, in columns of equal length, in order of row and index."""

    row: NDArray[np.int64]
    """Position of the row in its chunk."""
    image_index: NDArray[np.int64]
    seed: NDArray[np.int64]
    key: Hashes
    fingerprint: Hashes


def window_rows(config: JobConfig) -> int:
    """Return how many rows are cut into batches together: whole batches where all rows agree."""
    per_row = len(config.seed_values() or ()) or config.images_per_prompt
    rows_of_whole_batches = config.batch_size // math.gcd(per_row, config.batch_size)
    return rows_of_whole_batches * max(1, _WINDOW_BATCHES // per_row)


def chunk_rows(config: JobConfig) -> int:
    """Return how many rows to read at a time, so that their images are some ten thousand."""
    per_row = len(config.seed_values() or ()) or config.images_per_prompt
    return max(window_rows(config), _CHUNK_IMAGES // per_row)


def resolved(rows: Rows, config: JobConfig) -> dict[str, Any]:
    """Return the columns of a chunk with the job's settings where the row says nothing."""
    settings, sampling = rows.settings, config.sampling
    defaults = {
        "negative_prompt": sampling.negative_prompt,
        "steps": sampling.steps,
        "guidance_scale": float(sampling.guidance_scale),
        "guidance_rescale": float(sampling.guidance_rescale),
        "cfg_cutoff": float(sampling.cfg_cutoff),
        "clip_skip": sampling.clip_skip,
        "width": config.width,
        "height": config.height,
        "scheduler": sampling.scheduler,
    }
    columns = {name: settings[name] for name in ("row_key", "prompt", "prompt_2", "seed")}
    for name, default in defaults.items():
        columns[name] = pc.fill_null(settings[name], pa.scalar(default, settings[name].type))
    columns["lora"] = lora_texts(rows, config)
    of_job = {
        "timestep_spacing": sampling.timestep_spacing.value,
        "long_prompt": sampling.long_prompt.value,
        "weighting": sampling.weighting,
    }
    return columns | {name: pa.repeat(v, rows.settings.num_rows) for name, v in of_job.items()}


def image_columns(
    rows: Rows, config: JobConfig, revision: str, adapters: Mapping[str, str] | None = None
) -> ImageColumns:
    """Return the images of a chunk; `revision` is the model's identity, `adapters` has theirs."""
    columns = resolved(rows, config)
    counts = _counts(rows, config)
    row = np.repeat(np.arange(len(counts)), counts)
    image_index = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    hashes = text_hashes(columns["row_key"])[row]
    seed = _seeds(rows, counts)[row]
    is_own = seed >= 0
    seed[is_own] += image_index[is_own]
    if not is_own.all():
        others = ~is_own
        listed = config.seed_values()
        if listed is None:
            seed[others] = derived_seeds(hashes[others], image_index[others], config.seed)
        else:
            seed[others] = np.array(listed, dtype=np.int64)[image_index[others]]
    hashed = columns | {"lora": identified(columns["lora"], adapters or {})}
    return ImageColumns(
        row=row,
        image_index=image_index,
        seed=seed,
        key=image_keys(hashes, image_index),
        fingerprint=fingerprints(settings_hashes(hashed)[row], seed, revision),
    )


def _counts(rows: Rows, config: JobConfig) -> NDArray[np.int64]:
    """Return how many images each row has."""
    own = _numbers(rows, "images_per_prompt", config.images_per_prompt)
    listed = config.seed_values()
    if listed is None:
        return own
    by_list = pc.is_null(rows.settings["seed"]).to_numpy(zero_copy_only=False)
    clash = np.flatnonzero(by_list & (own != 1))
    if len(clash):
        raise TableError(
            f"row {rows.first_index + int(clash[0])}: images_per_prompt is {own[clash[0]]}, and "
            f"the job's seeds make {len(listed)} images of every row. Take out one of the two."
        )
    return np.where(by_list, len(listed), own).astype(np.int64)


def _seeds(rows: Rows, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the seed each row brings, -1 where it brings none."""
    seeds = _numbers(rows, "seed", -1)
    over = np.flatnonzero(seeds > (SEED_LIMIT - 1) - (counts - 1))
    if len(over):
        row = int(over[0])
        raise TableError(
            f"row {rows.first_index + row}: seed {seeds[row]} plus {counts[row]} images passes "
            f"{SEED_LIMIT - 1}, the largest seed. Start from a smaller one."
        )
    return seeds


def _numbers(rows: Rows, name: str, default: int) -> NDArray[np.int64]:
    column: Any = pc.fill_null(rows.settings[name], pa.scalar(default, pa.int64()))
    return np.array(column.to_numpy(zero_copy_only=False), dtype=np.int64)


def cut(
    rows: Rows, columns: ImageColumns, pending: NDArray[np.bool_], config: JobConfig
) -> Iterator[NDArray[np.int64]]:
    """Yield the batches of a chunk that hold a pending image, as positions in `columns`.

    Inside a window images that agree in steps, guidance, size, scheduler and adapters are batched
    in their order, `batch_size` at a time. `pending` is (n images,) and chooses, it never re-cuts.
    """
    settings = resolved(rows, config)
    window = window_rows(config)
    starts = np.arange(0, rows.settings.num_rows + window, window)
    edges = np.searchsorted(columns.row, starts)
    for first, last in itertools.pairwise(edges):
        if not pending[first:last].any():
            continue
        for positions in _groups(settings, columns.row[first:last]):
            for at in range(0, len(positions), config.batch_size):
                batch = first + np.array(positions[at : at + config.batch_size])
                if pending[batch].any():
                    yield batch


def _groups(settings: dict[str, Any], rows: NDArray[np.int64]) -> list[list[int]]:
    """Return the positions in `rows` that may share a batch, kinds in order of appearance."""
    start, stop = int(rows[0]), int(rows[-1]) + 1
    values = [settings[name].slice(start, stop - start).to_pylist() for name in _SHARED]
    kinds = list(zip(*values, strict=True))
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position, row in enumerate(rows):
        groups.setdefault(kinds[row - start], []).append(position)
    return list(groups.values())


def materialised(
    rows: Rows,
    columns: ImageColumns,
    positions: Sequence[int] | NDArray[np.int64],
    config: JobConfig,
) -> list[ImageRequest]:
    """Return chosen images of a chunk as objects, all pending and numbered by their rows."""
    settings = resolved(rows, config)
    images = []
    for position in positions:
        row = int(columns.row[position])
        image = Settings(
            seed=int(columns.seed[position]),
            **{name: settings[name][row].as_py() for name in Settings.__slots__ if name != "seed"},
        )
        images.append(
            ImageRequest(
                row_key=settings["row_key"][row].as_py(),
                row_index=rows.first_index + row,
                image_index=int(columns.image_index[position]),
                settings=image,
                fingerprint=as_hex(int(columns.fingerprint[position])),
                number=rows.first_index + row,
                is_pending=True,
                carried={name: rows.carried[name][row] for name in rows.carried.schema.names},
            )
        )
    return images
