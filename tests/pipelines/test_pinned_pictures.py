"""Pictures as version 0.1.0 makes them: what can change them has a number to be raised.

If one of these fails, pictures are not what they were: mend that, or raise the number of what
changed in batchgen/config/revisions.py, as CONTRIBUTING.md says, and write the new pictures down:
`python tests/pipelines/test_pinned_pictures.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.models import DemoModel, FakeModel
from batchgen.config.settings import Settings
from batchgen.pipelines.base import Pipeline
from batchgen.pipelines.factory import load
from batchgen.plan.requests import ImageRequest

PICTURES = Path(__file__).parents[1] / "samples" / "pictures"
FAKE_SHA256 = "33b83eac"
"""The first digits of that of the fake model's pixels."""

PLAIN = Settings(prompt="a red circle", prompt_2=None, seed=7, steps=6, width=64, height=64)
CASES = {
    "plain": PLAIN,
    "negative": dataclasses.replace(PLAIN, negative_prompt="blue", scheduler="ddim", clip_skip=1),
    "weights": dataclasses.replace(
        PLAIN, prompt="a (red:1.3) star", weighting=True, cfg_cutoff=0.5
    ),
    "karras": dataclasses.replace(PLAIN, scheduler="dpmpp_2m_karras", guidance_rescale=0.7),
}


def pixels(pipeline: Pipeline, settings: Settings) -> NDArray[np.uint8]:
    """Make one picture alone."""
    request = ImageRequest("0", 0, 0, settings, "0" * 16, 0, True, {})
    return pipeline.generate([request]).pictures[0].pixels


def test_the_fake_model_makes_the_pixels_it_always_made() -> None:
    """To the bit: they are made by numpy alone, on any machine."""
    made = pixels(load(FakeModel(), DeviceConfig(), DeviceKind.cpu), PLAIN)
    assert hashlib.sha256(made.tobytes()).hexdigest().startswith(FAKE_SHA256)


@pytest.mark.parametrize("name", CASES)
def test_the_demo_model_makes_the_pictures_it_always_made(pipeline: Pipeline, name: str) -> None:
    """On MindSpore's CPU back end; another machine may round the last bit otherwise."""
    with Image.open(PICTURES / f"{name}.png") as picture:
        before = np.asarray(picture, dtype=np.int16)
    assert np.abs(pixels(pipeline, CASES[name]) - before).max() <= 2


if __name__ == "__main__":
    DEMO = load(DemoModel(), DeviceConfig(), DeviceKind.cpu)
    for CASE, SETTINGS in CASES.items():
        Image.fromarray(pixels(DEMO, SETTINGS)).save(PICTURES / f"{CASE}.png")
