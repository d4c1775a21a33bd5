"""A run of rows with every setting filled in, and the images it makes, in columns.

Pure: no disk, device or clock. Rows are resolved here once; whatever cuts
batches, compares with what is finished or makes requests works on the columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchgen.config.job import JobConfig
from batchgen.config.setting_row import Hashed
from batchgen.config.settings import SEED_LIMIT, SETTINGS
from batchgen.errors import TableError
from batchgen.plan.fingerprint import (
    Hashes,
    derived_seeds,
    fingerprints,
    image_keys,
    settings_hashes,
    text_hashes,
)
from batchgen.plan.lora_column import identified, lora_texts
from batchgen.table import Rows

_compute: Any = pc


@dataclass(frozen=True, slots=True)
class ImageColumns:
    """The images of a run of rows, in columns of equal length, in order of row and index."""

    rows: Rows
    settings: Mapping[str, Any]
    """`row_key`, and each setting but the seed, to an Arrow column with a value for each row."""
    row: NDArray[np.int64]
    """(n images,): position of the row in the run."""
    image_index: NDArray[np.int64]
    seed: NDArray[np.int64]
    key: Hashes
    fingerprint: Hashes


def resolved(rows: Rows, config: JobConfig) -> dict[str, Any]:
    """Return the settings of each row but the seed, and `row_key`: its own, else the job's.

    Raises `TableError` for a row that names an adapter the job does not have.
    """
    own, of_job = rows.settings, config.image_defaults()
    columns: dict[str, Any] = {"row_key": own["row_key"]}
    for name, setting in SETTINGS.items():
        if setting.hashed is Hashed.adapters:
            columns[name] = lora_texts(rows, config)
        elif not setting.in_table:
            columns[name] = pa.repeat(pa.scalar(of_job[name]), own.num_rows)
        elif name not in of_job:
            columns[name] = own[name]
        else:
            default = pa.scalar(of_job[name], own[name].type)
            columns[name] = _compute.fill_null(own[name], default)
    del columns["seed"]
    return columns


def image_columns(
    rows: Rows, config: JobConfig, revision: str, adapters: Mapping[str, str] | None = None
) -> ImageColumns:
    """Return the images of a run of rows.

    Args:
        rows: Consecutive rows of the table.
        config: The job's.
        revision: The model's identity.
        adapters: Name of an adapter to the hash of its file.

    Raises:
        TableError: For the first row whose settings contradict the job's.
    """
    settings = resolved(rows, config)
    counts = _counts(rows, config)
    row = np.repeat(np.arange(len(counts)), counts)
    image_index = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    hashes = text_hashes(settings["row_key"])[row]
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
    hashed = settings | {"lora": identified(settings["lora"], adapters or {})}
    return ImageColumns(
        rows=rows,
        settings=settings,
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
    by_list = _compute.is_null(rows.settings["seed"]).to_numpy(zero_copy_only=False)
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
    column: Any = _compute.fill_null(rows.settings[name], pa.scalar(default, pa.int64()))
    return np.array(column.to_numpy(zero_copy_only=False), dtype=np.int64)
