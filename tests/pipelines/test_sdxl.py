"""SDXL through mindone on the small demo model: the pipeline's contract, with real MindSpore."""

import dataclasses
import os
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.models import DemoModel, SdxlModel
from batchgen.config.schedulers import OWN_SPACING, SCHEDULERS
from batchgen.config.settings import Settings
from batchgen.errors import DeviceError, DeviceLost, DeviceOutOfMemory, ModelError
from batchgen.model.model_files import ModelFiles
from batchgen.model.tensors import Stored
from batchgen.model.weights import DEMO_FOLDER
from batchgen.pipelines.base import Decoding, Pipeline
from batchgen.pipelines.factory import load
from batchgen.pipelines.mindspore import sdxl
from batchgen.pipelines.mindspore.machine import Machine
from batchgen.pipelines.mindspore.scheduler import scheduler
from batchgen.plan.requests import ImageRequest

CPU = DeviceKind.cpu
CAT = Settings(prompt="a cat", prompt_2=None, seed=1, steps=2, width=64, height=64)


def image(**changes: Any) -> ImageRequest:
    """A small image of two steps, but for what is changed."""
    settings = dataclasses.replace(CAT, **changes)
    return ImageRequest("0", 0, 0, settings, "0" * 16, 0, is_pending=True, carried={})


def floats(pipeline: sdxl.SdxlPipeline, *settings: Settings) -> NDArray[np.float32]:
    """The pictures of one call before they are rounded, values in [0, 1]."""
    prompts = [pipeline.prompts.prompt(one) for one in settings]
    with pipeline.at_work():
        latents = pipeline._latents([*settings], prompts)
        made, is_finite = pipeline._floats(latents, Decoding())
    return np.where(is_finite[:, None, None, None], made, np.nan)


def pixels(pipeline: Pipeline, *images: ImageRequest, **decoding: bool) -> NDArray[np.int16]:
    """The pictures of one call, wide enough to subtract."""
    pictures = pipeline.generate(images, Decoding(**decoding)).pictures
    return np.stack([picture.pixels for picture in pictures]).astype(np.int16)


@pytest.fixture
def decoder_calls(
    pipeline: sdxl.SdxlPipeline, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, ...]]:
    """The shape of whatever the VAE's decoder is given, call by call."""
    shapes: list[tuple[int, ...]] = []
    kind = type(pipeline.pipe.vae.decoder)
    construct = kind.construct

    def counted(self: Any, latents: Any, *rest: Any) -> Any:
        shapes.append(latents.shape)
        return construct(self, latents, *rest)

    monkeypatch.setattr(kind, "construct", counted)
    return shapes


def failing_decoder(pipeline: sdxl.SdxlPipeline, patch: pytest.MonkeyPatch, text: str) -> None:
    """Let the decoder fail with a text of MindSpore's."""

    def construct(*_: Any) -> Any:
        raise RuntimeError(text)

    patch.setattr(type(pipeline.pipe.vae.decoder), "construct", construct)


def test_pictures_are_the_pipelines_own(pipeline: sdxl.SdxlPipeline) -> None:
    """Embeddings, loop and decoding in parts give to the bit what one call of mindone gives."""
    one, two = image(negative_prompt="dark", steps=3), image(prompt="a dog", seed=2, steps=3)
    ours = pixels(pipeline, one, two)
    pipeline.pipe.scheduler = scheduler("euler", pipeline._scheduler_config)
    floats = pipeline.pipe(
        **pipeline.prompts.arguments([pipeline.prompts.prompt(i.settings) for i in (one, two)]),
        num_inference_steps=3, guidance_scale=7.5, width=64, height=64, output_type="np",
        generator=[np.random.default_rng(seed) for seed in (1, 2)],
    )[0]  # fmt: skip
    np.testing.assert_array_equal(ours, (floats * 255).round().astype(np.uint8))


def test_same_call_repeats_exactly(pipeline: sdxl.SdxlPipeline) -> None:
    """Whatever was made in between."""
    first = pixels(pipeline, image(), image(seed=2))
    pixels(pipeline, image(prompt="else", seed=3), tiling=True)
    np.testing.assert_array_equal(first, pixels(pipeline, image(), image(seed=2)))


def test_picture_does_not_depend_on_its_neighbours(pipeline: sdxl.SdxlPipeline) -> None:
    """Alone and in a batch of other prompts and seeds: the last bit of a pixel at most."""
    others = (image(prompt="a very long story of a river", seed=5), image(seed=2))
    alone = pixels(pipeline, image())
    assert abs(pixels(pipeline, others[0], image(), others[1])[1] - alone[0]).max() <= 1


@pytest.mark.parametrize("change", [{"prompt": "a red house"}, {"seed": 9}, {"prompt_2": "a dog"},
                                    {"negative_prompt": "dark"}, {"guidance_scale": 3.0},
                                    {"steps": 4}, {"scheduler": "ddim"}, {"clip_skip": 1},
                                    {"timestep_spacing": "trailing"}, {"guidance_rescale": 1.0},
                                    {"cfg_cutoff": 0.5}])  # fmt: skip
def test_each_setting_shapes_the_picture(
    pipeline: sdxl.SdxlPipeline, change: dict[str, Any]
) -> None:
    """Nothing that is recorded is without effect."""
    difference = abs(pixels(pipeline, image(**change)) - pixels(pipeline, image()))
    assert difference.any()


@pytest.mark.parametrize("name", SCHEDULERS)
def test_scheduler_repeats_alone_and_in_a_batch(pipeline: sdxl.SdxlPipeline, name: str) -> None:
    """Each that is offered, its own noise included: within 1e-4; not all seeds are alike."""
    star = dataclasses.replace(CAT, prompt="a star", guidance_scale=2.0, scheduler=name, steps=3)
    call = [dataclasses.replace(star, seed=seed) for seed in range(4)]
    four, (alone,) = floats(pipeline, *call), floats(pipeline, call[2])
    assert np.isfinite(four).all()
    assert abs(four[2] - alone).max() <= 1e-4
    assert any(abs(four[2] - other).max() > 0.01 for other in four[[0, 1, 3]])
    assert 0 < alone.mean() < 1


def test_timestep_spacing_is_the_models_own_unless_another_is_asked_for(
    pipeline: sdxl.SdxlPipeline,
) -> None:
    """Turbo and Lightning begin at the last step of the noise schedule, SDXL a little before."""
    config = pipeline._scheduler_config
    first = {}
    for spacing in ("model", config.timestep_spacing, "trailing"):
        steps = scheduler("euler", config, spacing)
        steps.set_timesteps(4)
        first[spacing] = float(steps.timesteps[0])
    assert first["model"] == first[config.timestep_spacing]
    assert first["trailing"] == 999


@pytest.mark.parametrize("name", SCHEDULERS)
def test_timestep_spacing_reaches_all_schedulers_but_those_of_their_own_way(
    pipeline: sdxl.SdxlPipeline, name: str
) -> None:
    """A setting without effect is known as one."""
    first = set()
    for spacing in ("leading", "linspace", "trailing"):
        steps = scheduler(name, pipeline._scheduler_config, spacing)
        steps.set_timesteps(4)
        first.add(tuple(float(one) for one in steps.timesteps))
    assert (len(first) == 1) is (name in OWN_SPACING)


def test_guidance_ends_after_its_share_of_the_steps(
    pipeline: sdxl.SdxlPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The UNet sees both sides of two images for three of five steps, then one side."""
    sizes = []
    kind = type(pipeline.pipe.unet)
    construct = kind.construct

    def counted(self: Any, latents: Any, *arguments: Any, **options: Any) -> Any:
        sizes.append(latents.shape[0])
        return construct(self, latents, *arguments, **options)

    monkeypatch.setattr(kind, "construct", counted)
    call = [image(prompt=prompt, steps=5, cfg_cutoff=0.6) for prompt in ("a cat", "a red house")]
    both = pixels(pipeline, *call)
    assert sizes == [4, 4, 4, 2, 2]
    for picture, one in zip(both, call, strict=True):
        assert abs(picture - pixels(pipeline, one)[0]).max() <= 1


def test_tiling_really_tiles_and_is_off_again(
    pipeline: sdxl.SdxlPipeline, decoder_calls: list[tuple[int, ...]]
) -> None:
    """At any size the decoder sees tiles only; the next call is whole again."""
    whole = pixels(pipeline, image(width=128, height=128))
    tiled = pixels(pipeline, image(width=128, height=128), tiling=True)
    assert decoder_calls[0] == (1, 4, 16, 16)
    assert len(decoder_calls) == 1 + 9
    assert max(max(shape[2:]) for shape in decoder_calls[1:]) == 8
    assert 0 < abs(whole - tiled).mean() < 40
    np.testing.assert_array_equal(whole, pixels(pipeline, image(width=128, height=128)))
    assert decoder_calls[-1] == (1, 4, 16, 16)


@pytest.mark.parametrize(
    ("latents", "tile"), [((8, 8), 4), ((16, 16), 8), ((16, 24), 12), ((128, 128), 64),
                          ((96, 96), 48), ((256, 128), 64)]
)  # fmt: skip
def test_tiles_are_half_the_longer_side_at_most_512_pixels(
    latents: tuple[int, int], tile: int
) -> None:
    """Always smaller than the picture; a quarter of one is a whole number of latents."""
    assert sdxl.tile_size(*latents) == tile


def test_slicing_decodes_one_at_a_time_and_is_off_again(
    pipeline: sdxl.SdxlPipeline, decoder_calls: list[tuple[int, ...]]
) -> None:
    """The same pixels, but for the last bit, from one latent at a time."""
    call = (image(), image(seed=2))
    sliced = pixels(pipeline, *call, slicing=True)
    assert [shape[0] for shape in decoder_calls] == [1, 1]
    assert abs(pixels(pipeline, *call) - sliced).max() <= 1
    assert [shape[0] for shape in decoder_calls] == [1, 1, 2]


def test_float32_changes_nothing_on_a_cpu(pipeline: sdxl.SdxlPipeline) -> None:
    """The VAE computes in float32 there anyhow, and says so."""
    assert pipeline.vae_is_float32
    plain = pixels(pipeline, image())
    np.testing.assert_array_equal(plain, pixels(pipeline, image(), float32=True))


def test_vae_of_another_type_is_put_back(
    pipeline: sdxl.SdxlPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float32 is for one call: it is set for the decoding and undone, after a failure too."""
    ms, vae = pipeline._machine.ms, pipeline.pipe.vae
    seen: list[Any] = []
    monkeypatch.setattr(pipeline, "_upcasts", False)
    wanted = pixels(pipeline, image())
    latents = pipeline._denoised([CAT], [pipeline.prompts.prompt(CAT)])
    weights = [(weight, weight.asnumpy().copy()) for weight in vae.get_parameters()]
    vae.to(dtype=ms.float16)
    try:
        with pipeline._rungs(latents, Decoding(float32=True)):
            seen.append(vae.dtype)
        seen.append(vae.dtype)
        with pytest.raises(KeyError), pipeline._rungs(latents, Decoding(float32=True)):
            raise KeyError
        assert [*seen, vae.dtype] == [ms.float32, ms.float16, ms.float16]
    finally:
        vae.to(dtype=ms.float32)
        for weight, value in weights:
            weight.set_data(ms.tensor(value))
    np.testing.assert_array_equal(pixels(pipeline, image()), wanted)


@pytest.mark.parametrize(("width", "height"), [(64, 128), (136, 72)])
def test_size_is_the_one_asked_for(pipeline: sdxl.SdxlPipeline, width: int, height: int) -> None:
    """Any multiple of eight, upright or wide."""
    assert pixels(pipeline, image(width=width, height=height)).shape == (1, height, width, 3)


def test_times_and_memory_are_measured(pipeline: sdxl.SdxlPipeline) -> None:
    """Each part took a while, and the process has a size."""
    generation = pipeline.generate([image(prompt="what time is it")])
    assert min(generation.encode_s, generation.denoise_s, generation.decode_s) > 0.001
    assert 10**8 < generation.peak_memory_bytes < 10**11


def test_nan_is_told_of_the_picture_that_has_it(
    pipeline: sdxl.SdxlPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found before rounding hides it; neighbours stay good."""
    ms = pipeline._machine.ms
    decoded = np.full((3, 3, 64, 64), 0.5, np.float32)
    decoded[1, 0, 7, 7], decoded[2, 0, 0, 0] = np.nan, np.inf
    monkeypatch.setattr(pipeline.pipe.vae, "decode", lambda *_, **__: (ms.tensor(decoded),))
    pictures = pipeline.generate([image(seed=n) for n in range(3)]).pictures
    assert [picture.is_finite for picture in pictures] == [True, False, False]
    assert pictures[0].pixels.min() == 191


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Allocate device memory failed, alloc size:1073741824B", DeviceOutOfMemory),
        ("wait for compute device to finish failed, runtime result = 507010.", DeviceLost),
        ("The kernel Odd unregistered.", RuntimeError),
    ],
)
def test_failure_is_called_by_its_name_and_leaves_no_trace(
    pipeline: sdxl.SdxlPipeline, monkeypatch: pytest.MonkeyPatch, text: str, kind: type[Exception]
) -> None:
    """The ladder, the circuit or the row; the VAE is as it was, and the next batch is good."""
    wanted = pixels(pipeline, image())
    with monkeypatch.context() as patch:
        failing_decoder(pipeline, patch, text)
        with pytest.raises(kind) as caught:
            pixels(pipeline, image(), slicing=True, tiling=True)
    assert text in str(caught.value.__cause__ or caught.value)
    np.testing.assert_array_equal(wanted, pixels(pipeline, image()))


def test_failing_operator_is_blamed_on_its_own_batch(
    pipeline: sdxl.SdxlPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MindSpore may report it later; it is waited for, and the next batch never hears of it."""
    ms = pipeline._machine.ms
    kind = type(pipeline.pipe.unet)
    construct = kind.construct

    def faulty(self: Any, *arguments: Any, **options: Any) -> Any:
        ms.ops.gather(ms.tensor([1.0, 2.0]), ms.tensor([7]), 0)
        return construct(self, *arguments, **options)

    wanted = pixels(pipeline, image())
    with monkeypatch.context() as patch:
        patch.setattr(kind, "construct", faulty)
        with pytest.raises(RuntimeError, match="Gather"):
            pixels(pipeline, image())
    np.testing.assert_array_equal(wanted, pixels(pipeline, image()))


def test_stragglers_are_taken_out(
    pipeline: sdxl.SdxlPipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An out-of-memory that comes after an innocent-looking error is the batch's real failure."""
    late = [RuntimeError("Malloc device memory failed, size[1]"), RuntimeError("another")]

    def stragglers() -> list[Exception]:
        with monkeypatch.context() as patch:
            patch.setattr(pipeline._machine, "synchronize", synchronize)
            return Machine.stragglers(pipeline._machine)

    def synchronize() -> None:
        if late:
            raise late.pop(0)

    with monkeypatch.context() as patch:
        failing_decoder(pipeline, patch, "first")
        patch.setattr(pipeline._machine, "stragglers", stragglers)
        with pytest.raises(DeviceOutOfMemory):
            pipeline.generate([image()])
    assert "another" in caplog.text


def test_threads_keep_their_cores(pipeline: sdxl.SdxlPipeline) -> None:
    """MindSpore stays on its core; whoever called is free again, to save on all of them."""
    before = os.sched_getaffinity(0)
    with pipeline._machine.at_work():
        assert len(os.sched_getaffinity(0)) == 1
    pixels(pipeline, image())
    assert os.sched_getaffinity(0) == before


@pytest.mark.usefixtures("pipeline")
def test_missing_tensor_is_refused(tmp_path: Path) -> None:
    """Mindone would draw it at random, and a night of noise would look like a success."""
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "model")
    file = folder / "text_encoder/model.safetensors"
    tensors = load_file(file)
    del tensors["text_model.encoder.layers.0.layer_norm1.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    model = SdxlModel(path=str(folder), variant=None, full_size=False)
    with pytest.raises(ModelError, match=r"layers\.0\.layer_norm1\.weight is missing"):
        load(model, DeviceConfig(), CPU)


@pytest.mark.usefixtures("pipeline")
def test_parameter_without_a_tensor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last guard: another mindone may build what the configs do not call for here."""
    tensors = ModelFiles.tensors

    def without_one(files: ModelFiles, component: str) -> dict[str, Stored]:
        return {k: v for k, v in tensors(files, component).items() if k != "conv_out.bias"}

    monkeypatch.setattr(ModelFiles, "tensors", without_one)
    with pytest.raises(
        ModelError, match=r"UNet2DConditionModel is not .*unet.*: conv_out\.bias, one"
    ):
        load(DemoModel(), DeviceConfig(), CPU)


@pytest.mark.usefixtures("pipeline")
def test_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    """Weights of another model under the right names."""
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "model")
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["decoder.conv_in.weight"] = tensors["decoder.conv_in.weight"][:, :, :1, :1].copy()
    save_file(tensors, file, metadata={"format": "pt"})
    model = SdxlModel(path=str(folder), variant=None, full_size=False)
    with pytest.raises(ModelError, match=r"decoder\.conv_in"):
        load(model, DeviceConfig(), CPU)


def test_users_own_model_is_loaded_by_its_path(pipeline: sdxl.SdxlPipeline, tmp_path: Path) -> None:
    """With a variant: the same files under the same names but one word, the same pixels."""
    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "model")
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    own = load(SdxlModel(path=str(folder), full_size=False), DeviceConfig(), CPU)
    np.testing.assert_array_equal(pixels(own, image()), pixels(pipeline, image()))
    assert isinstance(own, sdxl.SdxlPipeline)
    model = weakref.ref(own.pipe.unet)
    own.close()
    assert model() is None, "a model that is closed still holds its memory"


@pytest.mark.skipif(Path("/dev/davinci0").exists(), reason="needs a machine without an NPU")
def test_machine_without_an_npu_is_refused_in_one_line() -> None:
    """Cause and cure, not MindSpore's page of text."""
    with pytest.raises(DeviceError, match=r"set_env\.sh.*device\.kind=cpu") as caught:
        Machine(DeviceConfig(), DeviceKind.ascend)
    assert "\n" not in str(caught.value)
