"""What holds for every plan: no image is lost or made twice, and no batch moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.config.job import JobConfig
from batchgen.config.models import FakeModel
from batchgen.config.sampling import SamplingConfig
from batchgen.config.schedulers import SCHEDULERS
from batchgen.config.settings import Settings
from batchgen.images.parameters import parameters_text, settings_of
from batchgen.ledger.schema import METADATA, carried_name
from batchgen.plan.backlog import whole_windows
from batchgen.plan.batches import batch_numbers, cut, requests, window_rows
from batchgen.plan.resolution import image_columns
from batchgen.table import SETTINGS, Rows

SHARED = ("steps", "guidance_scale", "width", "height", "scheduler")
KINDS = st.lists(
    st.fixed_dictionaries(
        {
            "prompt": st.sampled_from(["a cat", "a dog"]),
            "seed": st.none() | st.integers(0, 2**40),
            "steps": st.sampled_from([None, 20, 30]),
            "guidance_scale": st.sampled_from([None, 1.0, 7.5]),
            "width": st.sampled_from([None, 64, 72]),
            "scheduler": st.sampled_from([None, "ddim"]),
            "images_per_prompt": st.sampled_from([None, 1, 3]),
        }
    ),
    min_size=1,
    max_size=5,
)
ROWS = st.builds(
    lambda kinds, order: [kinds[byte % len(kinds)] for byte in order],
    KINDS,
    st.integers(1, 300).flatmap(lambda n_rows: st.binary(min_size=n_rows, max_size=n_rows)),
)
"""Tables of a few kinds of rows in any order, mostly longer than a window."""

CONFIGS = st.builds(
    lambda batch_size, images_per_prompt: JobConfig(
        table="t.csv",
        model=FakeModel(),
        sampling=SamplingConfig(width=64, height=64),
        batch_size=batch_size,
        images_per_prompt=images_per_prompt,
    ),
    st.integers(1, 9),
    st.integers(1, 4),
)
PIECES = st.sampled_from(
    ["\n", "\r\n", "\u200b", "Negative prompt:", "Steps: 1, Seed: 2", "\u2028"]
)
TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | PIECES, max_size=5
).map("".join)


def rows_of(table: list[dict[str, Any]], first_index: int = 0) -> Rows:
    """Return rows as a table would give them."""
    columns = {
        name: pa.array([row.get(name) for row in table], kind) for name, kind in SETTINGS.items()
    }
    keys = [str(first_index + n) for n in range(len(table))]
    columns["row_key"] = pa.array(keys, pa.string())
    batch = pa.RecordBatch.from_pydict(columns)
    return Rows(first_index, batch, pa.RecordBatch.from_pylist([], pa.schema([])))


def all_batches(rows: Rows, config: JobConfig, pending: Any = None) -> list[list[int]]:
    """Return the batches of rows, as positions."""
    columns = image_columns(rows, config, "fake-1")
    mask = np.ones(len(columns.row), dtype=bool) if pending is None else np.array(pending)
    return [batch.tolist() for batch in cut(batch_numbers(columns, config), mask)]


@given(ROWS, CONFIGS)
@settings(max_examples=60, deadline=None)
def test_every_image_is_in_exactly_one_batch(
    table: list[dict[str, Any]], config: JobConfig
) -> None:
    """None is lost, none made twice, and no batch is longer than batch_size."""
    rows = rows_of(table)
    batches = all_batches(rows, config)
    n_images = sum(row["images_per_prompt"] or config.images_per_prompt for row in table)
    assert sorted(position for batch in batches for position in batch) == list(range(n_images))
    assert all(0 < len(batch) <= config.batch_size for batch in batches)


@given(ROWS, CONFIGS)
@settings(max_examples=40, deadline=None)
def test_the_images_of_a_batch_agree_in_what_a_call_shares(
    table: list[dict[str, Any]], config: JobConfig
) -> None:
    """And stand in it in the order of the table."""
    rows = rows_of(table)
    columns = image_columns(rows, config, "fake-1")
    for batch in all_batches(rows, config):
        images = requests(columns, batch)
        shared = {tuple(getattr(image.settings, name) for name in SHARED) for image in images}
        assert len(shared) == 1
        assert batch == sorted(batch)


@given(ROWS, CONFIGS, st.data())
@settings(max_examples=60, deadline=None)
def test_cutting_does_not_hang_on_what_is_pending(
    table: list[dict[str, Any]], config: JobConfig, data: st.DataObject
) -> None:
    """Exactly the batches with a pending image in them, member for member."""
    rows = rows_of(table)
    batches = all_batches(rows, config)
    n_images = sum(map(len, batches))
    pending = data.draw(st.lists(st.booleans(), min_size=n_images, max_size=n_images))
    wanted = [batch for batch in batches if any(pending[position] for position in batch)]
    assert all_batches(rows, config, pending) == wanted


@given(ROWS, CONFIGS, st.lists(st.integers(1, 70), max_size=20))
@settings(max_examples=40, deadline=None)
def test_pieces_of_a_table_are_cut_like_the_whole(
    table: list[dict[str, Any]], config: JobConfig, lengths: list[int]
) -> None:
    """Wherever the blocks of a file end."""
    whole = rows_of(table)

    def pieces() -> Iterator[Rows]:
        at = 0
        for length in (*lengths, len(table)):
            part = whole.settings.slice(at, length)
            if part.num_rows:
                yield Rows(at, part, whole.carried)
            at += length

    def named(rows: Rows) -> list[list[tuple[str, int]]]:
        columns = image_columns(rows, config, "fake-1")
        return [
            [image.key for image in requests(columns, batch)] for batch in all_batches(rows, config)
        ]

    joined = whole_windows(pieces(), window_rows(config))
    assert [batch for rows in joined for batch in named(rows)] == named(whole)


@given(ROWS, CONFIGS)
@settings(max_examples=40, deadline=None)
def test_an_image_is_the_same_wherever_its_row_is_read(
    table: list[dict[str, Any]], config: JobConfig
) -> None:
    """Seed, key and fingerprint follow from the row and the config alone."""
    whole = image_columns(rows_of(table), config, "fake-1")
    middle = len(table) // 2
    tail = image_columns(rows_of(table[middle:], middle), config, "fake-1")
    first = int(np.searchsorted(whole.row, middle))
    for name in ("image_index", "seed", "key", "fingerprint"):
        assert getattr(whole, name)[first:].tolist() == getattr(tail, name).tolist()


@given(ROWS, CONFIGS)
@settings(max_examples=40, deadline=None)
def test_no_two_images_share_a_key_and_seeds_are_in_range(
    table: list[dict[str, Any]], config: JobConfig
) -> None:
    """A key names one image; a derived seed is below 2**32, any seed below 2**63."""
    rows = rows_of(table)
    columns = image_columns(rows, config, "fake-1")
    assert len(set(columns.key.tolist())) == len(columns.key)
    for row, index, seed in zip(columns.row, columns.image_index, columns.seed, strict=True):
        own = table[row]["seed"]
        assert seed == own + index if own is not None else 0 <= seed < 2**32


@given(TEXTS, st.none() | TEXTS.filter(bool), TEXTS, st.integers(0, 2**63 - 1), TEXTS)
@settings(max_examples=80, deadline=None)
def test_settings_come_back_from_the_text_in_an_image(
    prompt: str, prompt_2: str | None, negative_prompt: str, seed: int, model: str
) -> None:
    """For every prompt, whatever is in it."""
    made = Settings(
        prompt=prompt,
        prompt_2=prompt_2,
        negative_prompt=negative_prompt,
        seed=seed,
        steps=20,
        guidance_scale=7.5,
        width=64,
        height=72,
        scheduler=list(SCHEDULERS)[seed % len(SCHEDULERS)],
    )
    assert settings_of(parameters_text(made, model, "31e35c80fc")) == (made, model)


@given(st.lists(st.sampled_from([c.name for c in METADATA] + ["image", "mood", "x_file_name"])))
def test_a_carried_column_never_takes_a_name_of_ours(names: list[str]) -> None:
    """Nor one that ImageFolder takes for a picture."""
    ours = {column.name for column in METADATA} | {"image"}
    for name in names:
        assert carried_name(name) not in ours
        assert not carried_name(name).endswith("_file_name")
