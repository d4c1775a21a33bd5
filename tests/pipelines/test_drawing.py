"""The demo model draws what it is told: what is seen on its pictures, by plain image analysis."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

import batchgen
from batchgen.config.settings import Settings
from batchgen.pipelines.mindspore.sdxl import SdxlPipeline
from batchgen.plan.requests import ImageRequest
from tools.train_demo.evaluate import held_out
from tools.train_demo.looking import colour_numbers, marks, view
from tools.train_demo.scenes import COLOURS, Scene

PLAIN = Settings(
    prompt="",
    prompt_2=None,
    seed=1,
    steps=12,
    guidance_scale=5.0,
    width=128,
    height=128,
    scheduler="dpmpp_2m_karras",
)
SCENES = [scene for scene in held_out(40) if len(scene.things) == 1][:8]
"""Of one object in a named place; training saw none of them."""


def drawn(pipeline: SdxlPipeline, *settings: Settings) -> list[NDArray[np.uint8]]:
    """The pictures of one batch."""
    images = [
        ImageRequest(str(n), n, 0, one, "0" * 16, n, is_pending=True, carried={})
        for n, one in enumerate(settings)
    ]
    return [picture.pixels for picture in pipeline.generate(images).pictures]


def drawn_scenes(pipeline: SdxlPipeline, **changed: object) -> list[NDArray[np.uint8]]:
    """A picture of each of `SCENES`, four to a batch."""
    settings = [
        dataclasses.replace(PLAIN, prompt=scene.words, seed=n, **changed)  # type: ignore[arg-type]
        for n, scene in enumerate(SCENES)
    ]
    return [picture for at in (0, 4) for picture in drawn(pipeline, *settings[at : at + 4])]


def n_right(pictures: list[NDArray[np.uint8]], scenes: list[Scene]) -> int:
    """How many attributes are right, of four a picture."""
    given = [marks(picture, scene) for picture, scene in zip(pictures, scenes, strict=True)]
    return sum(one.colour + one.shape + one.background + one.position for one in given)


@pytest.fixture(scope="module")
def pictures(pipeline: SdxlPipeline) -> list[NDArray[np.uint8]]:
    """Each of `SCENES` at 12 steps and guidance 5."""
    return drawn_scenes(pipeline)


def test_a_batch_of_four_prompts_gives_four_right_pictures_in_their_order(
    pictures: list[NDArray[np.uint8]],
) -> None:
    """Nearly every attribute is right, and few are where the order is another."""
    assert n_right(pictures, SCENES) >= 28
    assert n_right(pictures[1:4] + pictures[:1], SCENES[:4]) <= 8


def test_guidance_makes_the_prompt_be_followed(
    pipeline: SdxlPipeline, pictures: list[NDArray[np.uint8]]
) -> None:
    """At guidance 1, which is none, less of what was told is there than at 7.5."""
    without = n_right(drawn_scenes(pipeline, guidance_scale=1.0), SCENES)
    assert n_right(drawn_scenes(pipeline, guidance_scale=7.5), SCENES) > without
    assert n_right(pictures, SCENES) > without


def test_more_steps_make_a_cleaner_picture(
    pipeline: SdxlPipeline, pictures: list[NDArray[np.uint8]]
) -> None:
    """After 2 steps pixels are farther from the colours there are than after 12."""
    coarse = drawn_scenes(pipeline, steps=2)
    assert np.mean([grime(one) for one in coarse]) > 1.5 * np.mean([grime(one) for one in pictures])


def grime(pixels: NDArray[np.uint8]) -> float:
    """How far pixels are from the nearest colour that scenes have: root mean square, of 255."""
    palette = np.array(list(COLOURS.values()), float)
    return float(np.sqrt(np.square(pixels - palette[colour_numbers(pixels)]).mean()))


def test_a_negative_prompt_of_a_colour_lowers_that_colour(pipeline: SdxlPipeline) -> None:
    """Triangles on any background, and the same seeds told what background they must not have."""
    free = [dataclasses.replace(PLAIN, prompt="a triangle", seed=n) for n in range(8)]
    shares = colour_shares(drawn(pipeline, *free))
    worst = max(shares, key=shares.__getitem__)
    told = [dataclasses.replace(one, negative_prompt=f"{worst} background") for one in free]
    assert colour_shares(drawn(pipeline, *told))[worst] < 0.5 * shares[worst]


def colour_shares(pictures: list[NDArray[np.uint8]]) -> dict[str, float]:
    """Which share of all pixels is nearest to each colour."""
    numbers = np.stack([colour_numbers(picture) for picture in pictures])
    return {name: float((numbers == n).mean()) for n, name in enumerate(COLOURS)}


def test_seeds_give_different_pictures_of_one_prompt(pipeline: SdxlPipeline) -> None:
    """What the prompt leaves open differs: places at least."""
    ones = [dataclasses.replace(PLAIN, prompt="a star", seed=n) for n in range(4)]
    places = {(thing.x, thing.y) for p in drawn(pipeline, *ones) for thing in view(p).things[:1]}
    assert len(places) == 4


def test_pictures_of_a_resumed_job_are_right_too(tmp_path: Path) -> None:
    """Stopped after three rows of eight and started again, in batches of two."""
    table = tmp_path / "scenes.csv"
    table.write_text("\n".join(["prompt", *(f'"{scene.words}"' for scene in SCENES)]))
    job = {
        "table": str(table), "output_root": str(tmp_path), "model": "demo", "batch_size": 2,
        "sampling": {"steps": 12, "guidance_scale": 5.0, "scheduler": "dpmpp_2m_karras"},
    }  # fmt: skip
    batchgen.run(**job, limit=3)
    folder = batchgen.run(**job).folder
    rows = batchgen.read_metadata(folder)
    assert rows["row_index"].tolist() == list(range(8))
    pictures = [np.asarray(Picture.open(folder / name)) for name in rows["file_name"]]
    assert n_right(pictures, SCENES) >= 28
