"""From rows to images to batches: seeds, windows, and what may be denoised together."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from conftest import MakeConfig, WriteTable
from numpy.typing import NDArray

from batchgen.config.job import JobConfig
from batchgen.config.reading import ReadingConfig
from batchgen.config.settings import SEED_LIMIT, Settings
from batchgen.errors import TableError
from batchgen.plan.batches import batch_numbers, chunk_rows, cut, requests, window_rows
from batchgen.plan.requests import Batch
from batchgen.plan.resolution import ImageColumns, image_columns
from batchgen.table import Rows, open_table

REVISION = "fake-1"


class Planned:
    """The images of a small table."""

    def __init__(self, rows: Rows, config: JobConfig) -> None:
        """Plan one chunk."""
        self.rows, self.config = rows, config
        self.columns: ImageColumns = image_columns(rows, config, REVISION)

    @property
    def seeds(self) -> list[int]:
        """The seed of each image."""
        seeds: list[int] = self.columns.seed.tolist()
        return seeds

    def batches(self, pending: NDArray[np.bool_] | None = None) -> list[list[int]]:
        """Cut, with all images pending unless it is said."""
        mask = np.ones(len(self.columns.row), dtype=bool) if pending is None else pending
        return [batch.tolist() for batch in cut(batch_numbers(self.columns, self.config), mask)]


@pytest.fixture
def planned(write_table: WriteTable, fake_config: MakeConfig) -> Any:
    """Return a function that plans a table under settings."""

    def plan(text: str, **settings: Any) -> Planned:
        (rows,) = open_table(write_table(text), ReadingConfig()).chunks()
        return Planned(rows, fake_config(**settings))

    return plan


def prompts(n: int, header: str = "prompt", rest: str = "") -> str:
    """Return a table of n rows that are alike but for their prompt."""
    return f"{header}\n" + "".join(f"p{i}{rest}\n" for i in range(n))


def test_a_row_is_one_image_unless_it_is_said(planned: Any) -> None:
    """In the order of the table."""
    columns = planned(prompts(3)).columns
    assert columns.row.tolist() == [0, 1, 2]
    assert columns.image_index.tolist() == [0, 0, 0]


def test_images_per_prompt_of_a_row_wins_over_the_jobs(planned: Any) -> None:
    """Indexes begin at 0 in every row."""
    columns = planned("prompt,images_per_prompt\na,\nb,3\nc,1\n", images_per_prompt=2).columns
    assert columns.row.tolist() == [0, 0, 1, 1, 1, 2]
    assert columns.image_index.tolist() == [0, 1, 0, 1, 2, 0]


def test_a_rows_own_seed_counts_up_with_its_images(planned: Any) -> None:
    """Seed plus image index."""
    assert planned("prompt,seed\na,7\nb,100\n", images_per_prompt=3).seeds == [
        *(7, 8, 9, 100, 101, 102),
    ]


def test_derived_seeds_are_below_2_to_32_and_differ_from_row_to_row(planned: Any) -> None:
    """The classic complaint: one seed for every prompt line."""
    seeds = planned(prompts(500), images_per_prompt=4).seeds
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert len(set(seeds)) == 2000


def test_derived_seeds_hang_on_the_row_key_not_on_the_row(planned: Any) -> None:
    """A row that moves keeps its pictures; another job seed gives others."""
    seeds = planned("id,prompt\na,x\nb,y\n").seeds
    assert planned("id,prompt\nb,y\nc,z\na,x\n").seeds[::2] == seeds[::-1]
    assert not set(planned("id,prompt\na,x\nb,y\n", seed=1).seeds) & set(seeds)


@pytest.mark.parametrize("seeds", [[5, 3, 9], (5, 3, 9)])
def test_every_row_gets_every_seed_of_the_job(planned: Any, seeds: Any) -> None:
    """A list keeps its order."""
    images = planned(prompts(2), seeds=seeds)
    assert images.seeds == [5, 3, 9, 5, 3, 9]
    assert images.columns.image_index.tolist() == [0, 1, 2, 0, 1, 2]


def test_a_range_of_seeds_has_both_ends(planned: Any) -> None:
    """0..2 is three seeds."""
    assert planned(prompts(2), seeds="0..2").seeds == [0, 1, 2, 0, 1, 2]


def test_a_rows_own_seed_wins_over_the_jobs_seeds(planned: Any) -> None:
    """Such a row has one image, or as many as it says, from its own seed on."""
    table = "prompt,seed,images_per_prompt\na,,\nb,50,\nc,70,2\n"
    assert planned(table, seeds=[1, 2]).seeds == [1, 2, 50, 70, 71]


def test_images_per_prompt_in_a_row_clashes_with_the_jobs_seeds(planned: Any) -> None:
    """The row is named."""
    with pytest.raises(TableError, match=r"row 1: images_per_prompt is 2, .* 3 images"):
        planned("prompt,images_per_prompt\na,1\nb,2\n", seeds="0..2")


def test_the_largest_seed_is_taken_as_it_is(planned: Any) -> None:
    """2**63 - 1 for one image."""
    assert planned(f"prompt,seed\na,{SEED_LIMIT - 1}\n").seeds == [SEED_LIMIT - 1]


def test_a_seed_far_past_the_largest_is_refused(planned: Any) -> None:
    """The row is named."""
    table = f"prompt,seed,images_per_prompt\na,1,1\nb,{SEED_LIMIT - 1},10000\n"
    with pytest.raises(TableError, match="row 1: seed"):
        planned(table)


@pytest.mark.parametrize(("below", "count"), [(1, 2), (1, 500), (999, 1000)])
def test_a_seed_that_would_pass_the_largest_is_refused(
    planned: Any, below: int, count: int
) -> None:
    """By one image is enough; nothing wraps around to a negative seed."""
    table = f"prompt,seed,images_per_prompt\na,1,1\nb,{SEED_LIMIT - below},{count}\n"
    with pytest.raises(TableError, match="row 1: seed"):
        planned(table)


def test_images_that_are_alike_are_cut_by_batch_size(planned: Any) -> None:
    """The last batch holds the rest."""
    assert planned(prompts(5), batch_size=2).batches() == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("steps", "10 20"),
        ("guidance_scale", "5 7"),
        ("width", "64 72"),
        ("height", "64 72"),
        ("scheduler", "euler ddim"),
    ],
)
def test_images_that_differ_in_what_a_call_shares_are_not_batched(
    planned: Any, column: str, values: str
) -> None:
    """Each kind has batches of its own, in the order in which the kinds appear."""
    one, other = values.split()
    table = f"prompt,{column}\n" + "".join(f"p,{v}\n" for v in (one, other, one, other, one))
    assert planned(table, batch_size=2).batches() == [[0, 2], [4], [1, 3]]


def test_prompts_and_seeds_may_differ_inside_a_batch(planned: Any) -> None:
    """They are each image's own."""
    table = "prompt,prompt_2,negative_prompt,seed\na,,,1\nb,x,,2\nc,,y,3\n"
    assert planned(table, batch_size=3).batches() == [[0, 1, 2]]


def test_a_setting_spelt_out_is_the_same_as_the_jobs(planned: Any) -> None:
    """What counts is the resolved value."""
    assert planned("prompt,steps\na,\nb,20\nc,20\n", batch_size=3).batches() == [[0, 1, 2]]


def test_only_batches_with_work_in_them_are_cut_and_they_are_cut_as_ever(planned: Any) -> None:
    """What is pending chooses among the batches and moves no edge."""
    images = planned(prompts(200), batch_size=3)
    all_batches = images.batches()
    pending = np.zeros(200, dtype=bool)
    pending[[4, 5, 150]] = True
    assert images.batches(pending) == [b for b in all_batches if {4, 5, 150} & set(b)]


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        ({"batch_size": 1}, 64),
        ({"batch_size": 4}, 256),
        ({"batch_size": 4, "images_per_prompt": 2}, 64),
        ({"batch_size": 4, "seeds": "0..15"}, 4),
        ({"batch_size": 3, "seeds": "0..99"}, 3),
        ({"batch_size": 1, "images_per_prompt": 1000}, 1),
    ],
)
def test_a_window_is_whole_batches_where_all_rows_are_alike(
    fake_config: MakeConfig, settings: dict[str, Any], length: int
) -> None:
    """Its length follows from the config alone."""
    config = fake_config(**settings)
    per_row = len(config.seed_values() or ()) or config.images_per_prompt
    assert window_rows(config) == length
    assert length * per_row % config.batch_size == 0
    assert chunk_rows(config) >= length


def test_no_batch_crosses_a_window(planned: Any) -> None:
    """Kinds that alternate are batched inside each window, so batches can be found again."""
    table = "prompt,steps\n" + "".join(f"p,{10 + i % 2}\n" for i in range(300))
    images = planned(table, batch_size=2)
    window = window_rows(images.config)
    batches = images.batches()
    assert all(len({position // window for position in batch}) == 1 for batch in batches)
    assert sorted(position for batch in batches for position in batch) == list(range(300))


def test_the_first_rows_are_batched_alike_in_a_longer_table(planned: Any) -> None:
    """Rows added at the end change no batch of whole windows before them."""
    config = {"batch_size": 4}
    short, long = planned(prompts(256), **config), planned(prompts(400), **config)
    assert long.batches()[:64] == short.batches()


def test_a_request_has_all_that_shapes_the_image(planned: Any) -> None:
    """Resolved settings, key, index, number and the columns that are carried."""
    images = planned("id,prompt,steps,mood\na,x,,calm\nb,y,9,wild\n", seeds=[4, 5])
    image = requests(images.columns, [3])[0]
    assert (image.key, image.row_index, image.number) == (("b", 1), 1, 1)
    assert image.settings == Settings(
        prompt="y",
        prompt_2=None,
        negative_prompt="",
        seed=5,
        steps=9,
        guidance_scale=7.5,
        width=64,
        height=64,
        scheduler="euler",
    )
    assert image.carried["mood"].as_py() == "wild"
    assert int(image.fingerprint, 16) == int(images.columns.fingerprint[3])


def test_a_batch_is_known_by_who_is_in_it_and_in_which_place(planned: Any) -> None:
    """Another member, or another order, is another batch_id."""
    images = planned(prompts(3))
    a, b, c = requests(images.columns, [0, 1, 2])
    made_up = {Batch(members).batch_id for members in ((a, b), (b, a), (a, c), (a,))}
    assert len(made_up) == 4
    assert Batch((a, b)).batch_id == Batch((a, dataclasses.replace(b, is_pending=False))).batch_id


@pytest.mark.parametrize(("n", "sizes"), [(2, (1, 1)), (3, (2, 1)), (8, (4, 4))])
def test_halves_are_the_batch_in_order(planned: Any, n: int, sizes: tuple[int, int]) -> None:
    """The first half is the longer one."""
    images = planned(prompts(n))
    batch = Batch(tuple(requests(images.columns, range(n))))
    first, second = batch.halves()
    assert (len(first.requests), len(second.requests)) == sizes
    assert first.requests + second.requests == batch.requests


def test_the_settings_of_the_job_are_in_every_fingerprint(planned: Any) -> None:
    """So are the row's, and what is no setting is not."""
    table = "prompt,mood\na,calm\n"
    of = {
        name: int(planned(text, **settings).columns.fingerprint[0])
        for name, text, settings in (
            ("plain", table, {}),
            ("mood", "prompt,mood\na,wild\n", {}),
            ("batch", table, {"batch_size": 8}),
            ("steps", table, {"sampling": {"steps": 21}}),
            ("seed", table, {"seed": 1}),
            ("prompt", "prompt,mood\nb,calm\n", {}),
        )
    }
    assert of["plain"] == of["mood"] == of["batch"]
    assert len(set(of.values())) == 4
