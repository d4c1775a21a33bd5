"""The UNet cache on the demo model, with real MindSpore: exact where it must be, and no trace."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from lora_files import tensors, write_lora
from numpy.typing import NDArray

from batchgen.adapters.adapter import Adapter, revision_of, shapes_in
from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.models import DemoModel
from batchgen.config.schedulers import CALLED_TWICE, SCHEDULERS
from batchgen.config.settings import Settings
from batchgen.model.model_files import ModelFiles
from batchgen.model.weights import DEMO_FOLDER
from batchgen.pipelines.mindspore import unet_cache
from batchgen.pipelines.mindspore.sdxl import SdxlPipeline
from batchgen.plan.requests import ImageRequest

CIRCLE = Settings(prompt="a red circle", prompt_2=None, seed=1, steps=4, width=64, height=64)
LAST_BRANCH = 5
"""The demo model's UNet has six skip connections."""


def pixels(pipeline: SdxlPipeline, *, seeds: tuple[int, ...] = (1,), **to: Any) -> NDArray[Any]:
    """The pictures of one call, wide enough to subtract."""
    settings = [dataclasses.replace(CIRCLE, seed=seed, **to) for seed in seeds]
    images = [ImageRequest("0", 0, 0, one, "0" * 16, 0, True, {}) for one in settings]
    pictures = pipeline.generate(images).pictures
    return np.stack([picture.pixels for picture in pictures]).astype(np.int16)


@pytest.fixture
def middles(pipeline: SdxlPipeline, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch of each call of the UNet's middle block."""
    batches: list[int] = []
    kind = type(pipeline.pipe.unet.mid_block)
    construct = kind.construct

    def counted(self: Any, hidden: Any, *rest: Any, **named: Any) -> Any:
        batches.append(hidden.shape[0])
        return construct(self, hidden, *rest, **named)

    monkeypatch.setattr(kind, "construct", counted)
    return batches


@pytest.mark.parametrize("branch", range(LAST_BRANCH + 1))
def test_a_cache_of_every_step_changes_no_bit(pipeline: SdxlPipeline, branch: int) -> None:
    """Whatever the branch: the blocks are called as mindone's UNet calls them."""
    plain = pixels(pipeline, seeds=(1, 2))
    cached = pixels(pipeline, seeds=(1, 2), unet_cache=1, unet_cache_branch=branch)
    np.testing.assert_array_equal(plain, cached)


def test_odd_sizes_change_no_bit_either(pipeline: SdxlPipeline) -> None:
    """The way up is told the sizes of the way down where doubling would miss them."""
    plain = pixels(pipeline, width=72, height=88)
    np.testing.assert_array_equal(plain, pixels(pipeline, width=72, height=88, unet_cache=1))


def test_a_call_without_after_one_with_a_cache_is_what_it_was(pipeline: SdxlPipeline) -> None:
    """And one with a cache repeats: nothing is left of the call before."""
    plain, cached = pixels(pipeline, seeds=(3,)), pixels(pipeline, unet_cache=3)
    np.testing.assert_array_equal(plain, pixels(pipeline, seeds=(3,)))
    np.testing.assert_array_equal(cached, pixels(pipeline, unet_cache=3))
    assert not isinstance(pipeline.pipe.unet, unet_cache.CachedUnet)


def test_a_call_that_fails_leaves_no_cache(
    pipeline: SdxlPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one draws with the UNet itself."""

    def construct(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(type(pipeline.pipe.unet.mid_block), "construct", construct)
        with pytest.raises(RuntimeError, match="broken"):
            pixels(pipeline, unet_cache=2)
    assert not isinstance(pipeline.pipe.unet, unet_cache.CachedUnet)


@pytest.mark.parametrize(("every", "n_whole"), [(1, 7), (2, 4), (3, 3), (5, 2), (100, 1)])
def test_deep_blocks_run_on_every_nth_step(
    pipeline: SdxlPipeline, middles: list[int], every: int, n_whole: int
) -> None:
    """From the first on, and so often only."""
    pixels(pipeline, unet_cache=every, steps=7)
    assert len(middles) == n_whole


def test_guidance_may_end_between_two_whole_steps(
    pipeline: SdxlPipeline, middles: list[int]
) -> None:
    """What was kept of the guided half serves on: a batch of two, four wide before."""
    cut = pixels(pipeline, seeds=(1, 2), unet_cache=3, cfg_cutoff=0.5)
    assert middles == [4, 2]
    alone = pixels(pipeline, seeds=(2,), unet_cache=3, cfg_cutoff=0.5)
    assert np.abs(cut[1] - alone[0]).max() <= 1
    assert (cut != pixels(pipeline, seeds=(1, 2), unet_cache=3)).any()


def test_each_picture_keeps_what_is_its_own(pipeline: SdxlPipeline) -> None:
    """In a batch as alone, but for the last bit, without guidance as well."""
    for guidance in (7.5, 0.0):
        batch = pixels(pipeline, seeds=(1, 2, 3), unet_cache=2, guidance_scale=guidance)
        alone = pixels(pipeline, seeds=(2,), unet_cache=2, guidance_scale=guidance)
        assert np.abs(batch[1] - alone[0]).max() <= 1


@pytest.mark.parametrize("name", sorted({*SCHEDULERS} - CALLED_TWICE))
def test_schedulers_that_call_the_unet_once_a_step_draw_with_it(
    pipeline: SdxlPipeline, middles: list[int], name: str
) -> None:
    """Their own way: half the whole steps, and a picture."""
    made = pixels(pipeline, scheduler=name, steps=5, unet_cache=2)
    assert len(middles) == 3
    assert made.std() > 1


def test_a_lora_is_drawn_with(pipeline: SdxlPipeline, tmp_path_factory: Any) -> None:
    """Its branches are in the blocks, the shallow and the deep."""
    shapes = shapes_in(ModelFiles(DEMO_FOLDER))
    path = write_lora(tmp_path_factory.mktemp("lora") / "film.safetensors", tensors(shapes))
    film = Adapter("film", path, revision_of(path.read_bytes()))
    own = SdxlPipeline(DemoModel(), DeviceConfig(), DeviceKind.cpu, {"film": film})
    plain = pixels(own, lora="film")
    np.testing.assert_array_equal(plain, pixels(own, lora="film", unet_cache=1))
    assert (pixels(own, lora="film", unet_cache=2) != pixels(own, unet_cache=2)).any()
    np.testing.assert_array_equal(pixels(pipeline), pixels(own))


def test_residuals_of_controls_are_added_as_mindone_adds_them(pipeline: SdxlPipeline) -> None:
    """To each skip connection and to the middle; on a shallow step to those that are fresh."""
    ms, unet = pipeline._machine.ms, pipeline.pipe.unet
    random = np.random.default_rng(0)

    def noise(*shape: int) -> Any:
        return ms.tensor(random.standard_normal(shape).astype(np.float32))

    sides = [(64, 8), (64, 8), (64, 4), (96, 4), (96, 2), (128, 2)]
    added = {"text_embeds": noise(1, 64), "time_ids": noise(1, 6)}
    call = {
        "encoder_hidden_states": noise(1, 77, 128),
        "added_cond_kwargs": added,
        "down_block_additional_residuals": [noise(1, *side, side[1]) for side in sides],
        "mid_block_additional_residual": noise(1, 128, 2, 2),
        "return_dict": False,
    }
    with pipeline.at_work():
        cached, sample = unet_cache.CachedUnet(unet, 2, 0), noise(1, 4, 8, 8)
        plain = unet(sample, ms.tensor(500), **call)[0].asnumpy()
        np.testing.assert_array_equal(cached(sample, ms.tensor(500), **call)[0].asnumpy(), plain)
        # The same step again: what is kept is what it would have computed.
        np.testing.assert_array_equal(cached(sample, ms.tensor(500), **call)[0].asnumpy(), plain)


def test_what_it_would_pass_over_is_refused(pipeline: SdxlPipeline) -> None:
    """By name: a branch that is not there, and an argument it does not know."""
    with pytest.raises(ValueError, match="unet_cache_branch=6: the last of this UNet is 5"):
        unet_cache.CachedUnet(pipeline.pipe.unet, 2, 6)
    cached = unet_cache.CachedUnet(pipeline.pipe.unet, 2, 0)
    with pytest.raises(ValueError, match="does not know class_labels"):
        cached(None, None, None, added_cond_kwargs={}, class_labels=1)
