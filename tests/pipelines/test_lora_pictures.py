"""Adapters on the real demo model, with MindSpore: exact, and without a trace."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeConfig
from lora_files import LAYERS, kohya, peft, tensors, write_lora
from numpy.typing import NDArray

from batchgen.adapters.adapter import Adapter, revision_of, shapes_in
from batchgen.adapters.lora_file import LoraFile, Shapes
from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.models import DemoModel, SdxlModel
from batchgen.config.settings import Settings
from batchgen.errors import ModelError
from batchgen.model.model_files import ModelFiles
from batchgen.model.weights import DEMO_FOLDER
from batchgen.pipelines.base import Pipeline
from batchgen.pipelines.factory import load
from batchgen.pipelines.mindspore import sdxl
from batchgen.pipelines.mindspore.lora_layers import Adapters, tensors_of
from batchgen.plan.requests import ImageRequest
from batchgen.runner.identity import Job

CPU = DeviceKind.cpu
CAT = Settings(prompt="a cat", prompt_2=None, seed=1, steps=2, width=64, height=64)
SIZE = 0.05
"""Of an adapter's values: enough to show, too little to make noise of a picture."""


def pixels(pipeline: Pipeline, lora: str = "", **changed: Any) -> NDArray[np.int16]:
    """One small picture, wide enough to subtract."""
    settings = dataclasses.replace(CAT, lora=lora, **changed)
    image = ImageRequest("0", 0, 0, settings, "0" * 16, 0, is_pending=True, carried={})
    return pipeline.generate([image]).pictures[0].pixels.astype(np.int16)


def adapter(path: Path, values: dict[str, NDArray[np.float32]]) -> Adapter:
    """Write an adapter and name it after its file."""
    return Adapter(path.stem, path, revision_of(write_lora(path, values).read_bytes()))


@pytest.fixture(scope="module", autouse=True)
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The demo model, and a cache of our own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCHGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield DEMO_FOLDER


@pytest.fixture(scope="module")
def shapes(demo_folder: Path) -> Shapes:
    """The layers of the demo model."""
    return shapes_in(ModelFiles(demo_folder))


@pytest.fixture(scope="module")
def adapters(shapes: Shapes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Adapter]:
    """LoRAs of all layers, of the UNet alone and of the text encoders alone."""
    unet = {"unet": shapes["unet"]}
    text = {name: shapes[name] for name in ("text_encoder", "text_encoder_2")}
    values = {
        "whole": tensors(shapes, peft, size=SIZE),
        "unet": tensors(unet, kohya, rank=3, alpha=1.5, seed=2, size=SIZE),
        "text": tensors(text, kohya, alpha=1.0, seed=3, size=6 * SIZE),
    }
    # Alphas that differ from layer to layer, as files have them that were resized.
    for number, name in enumerate(sorted(n for n in values["unet"] if n.endswith(".alpha"))):
        values["unet"][name] = np.array(1 + number % 3, np.float32)
    folder = tmp_path_factory.mktemp("loras")
    return {name: adapter(folder / f"{name}.safetensors", made) for name, made in values.items()}


@pytest.fixture(scope="module")
def pipeline(adapters: dict[str, Adapter]) -> Iterator[sdxl.SdxlPipeline]:
    """The demo model with three adapters at hand."""
    loaded = load(DemoModel(), DeviceConfig(), CPU, adapters)
    assert isinstance(loaded, sdxl.SdxlPipeline)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def base() -> NDArray[np.int16]:
    """The picture of a model that never saw an adapter."""
    return pixels(load(DemoModel(), DeviceConfig(), CPU))


LORAS = ("whole:1", "unet:0.8", "text:1", "text:0.5 unet:-0.5")


@pytest.mark.parametrize("lora", LORAS)
def test_after_a_row_with_an_adapter_the_base_is_the_same_to_the_bit(
    pipeline: sdxl.SdxlPipeline, base: NDArray[np.int16], lora: str
) -> None:
    """Nothing is fused, so nothing is left behind; the adapter did show in between."""
    assert (pixels(pipeline, lora) != base).any()
    np.testing.assert_array_equal(pixels(pipeline), base)


def test_the_order_of_rows_makes_no_difference(
    pipeline: sdxl.SdxlPipeline, adapters: dict[str, Adapter]
) -> None:
    """Neither which adapter was loaded first, nor what was on before."""
    forwards = {lora: pixels(pipeline, lora) for lora in LORAS}
    other = load(DemoModel(), DeviceConfig(), CPU, adapters)
    for lora in reversed(LORAS):
        np.testing.assert_array_equal(pixels(other, lora), forwards[lora])


@pytest.mark.parametrize("name", ["whole", "unet", "text"])
def test_an_adapter_gives_what_its_sum_with_the_weights_gives(
    pipeline: sdxl.SdxlPipeline, adapters: dict[str, Adapter], shapes: Shapes, name: str
) -> None:
    """W + weight * alpha / rank * up @ down, added up here, layer by layer."""
    summed, path = load(DemoModel(), DeviceConfig(), CPU), adapters[name].path
    assert isinstance(summed, sdxl.SdxlPipeline)
    ms = summed._machine.ms
    values = tensors_of(adapters[name])
    for layer in LoraFile(path).layers(shapes):
        component = getattr(summed.pipe, layer.component)
        weight = dict(component.cells_and_names())[layer.module].weight
        up, down = (values[part].reshape(len(values[part]), -1) for part in (layer.up, layer.down))
        alpha = float(values[layer.alpha_tensor]) if layer.alpha_tensor else layer.alpha
        added = 0.8 * alpha / layer.rank * (up @ down).reshape(weight.shape)
        weight.set_data(ms.Tensor(weight.asnumpy() + added, ms.float32))
    difference = pixels(pipeline, f"{name}:0.8") - pixels(summed)
    assert np.abs(difference).max() <= 1


def test_an_adapter_of_the_unet_needs_no_new_embeddings(pipeline: sdxl.SdxlPipeline) -> None:
    """Prompts are encoded again only where the text encoders are others."""
    prompt = "a house"
    pixels(pipeline, prompt=prompt)
    before = pipeline.prompts.encoded
    pixels(pipeline, "unet:1", prompt=prompt)
    assert pipeline.prompts.encoded == before
    pixels(pipeline, "text:1", prompt=prompt)
    assert pipeline.prompts.encoded > before


def test_a_batch_that_fails_leaves_no_adapter_on(
    pipeline: sdxl.SdxlPipeline, base: NDArray[np.int16], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever came in the way, the next row is made as if nothing had been."""

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no kernel")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.pipe, "set_adapters", fail)
        with pytest.raises(RuntimeError, match="no kernel"):
            pixels(pipeline, "whole:0.7")
    np.testing.assert_array_equal(pixels(pipeline), base)


def test_branches_take_the_type_of_the_layer_beside_them(
    adapters: dict[str, Adapter], pipeline: sdxl.SdxlPipeline
) -> None:
    """On an NPU all is float16, and what the pipeline takes for its type stays that."""
    ms = pipeline._machine.ms
    half = load(DemoModel(), DeviceConfig(), CPU)
    assert isinstance(half, sdxl.SdxlPipeline)
    half.pipe.unet.to(dtype=ms.float16)
    with half.at_work():
        Adapters(half.pipe, ms, adapters).use("unet:1")
    kinds = {parameter.dtype for parameter in half.pipe.unet.get_parameters()}
    assert (kinds, half.pipe.unet.dtype) == ({ms.float16}, ms.float16)


def test_an_adapter_for_another_model_is_refused_when_the_model_is_loaded(
    shapes: Shapes, tmp_path: Path
) -> None:
    """Before any picture; the demo model's own layers are what it is held against."""
    wide = {"unet": {name: tuple(2 * n for n in shape) for name, shape in shapes["unet"].items()}}
    misfit = adapter(tmp_path / "wide.safetensors", tensors(wide))
    reason = r"adapters\.wide: .*wide\.safetensors does not fit this model: tensor unet"
    with pytest.raises(ModelError, match=reason):
        load(DemoModel(), DeviceConfig(), CPU, {"wide": misfit})


def test_an_adapter_for_another_model_is_refused_before_the_model_is_loaded(
    fake_config: MakeConfig, demo_folder: Path, shapes: Shapes, tmp_path: Path
) -> None:
    """Where the model is in a folder, by the headers of both; `plan` says so too."""
    text = {"text_encoder": dict.fromkeys(shapes["text_encoder"], (9, 9))}
    path = write_lora(tmp_path / "wide.safetensors", tensors(text, kohya))
    config = fake_config(adapters={"wide": {"path": str(path)}}, device="cpu")
    config.model = SdxlModel(path=str(demo_folder), variant=None, full_size=False)
    with pytest.raises(
        ModelError, match=r"wide\.safetensors does not fit .*: tensor lora_te1_text"
    ):
        Job.identify(config)


def test_bfloat16_is_read_as_what_it_means(tmp_path: Path) -> None:
    """The upper half of a float32; numpy has no such type."""
    header = b'{"a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}'
    values = np.array([1.5, -0.25], np.float32).view(np.uint32) >> 16
    path = tmp_path / "a.safetensors"
    content = len(header).to_bytes(8, "little") + header + values.astype(np.uint16).tobytes()
    path.write_bytes(content)
    tensor = tensors_of(Adapter("a", path, revision_of(content)))["a"]
    np.testing.assert_array_equal(tensor, [[1.5, -0.25]])


def test_a_file_that_changed_since_the_job_began_is_not_used(tmp_path: Path) -> None:
    """The revision in the metadata is that of the file the image was made with."""
    late = adapter(tmp_path / "a.safetensors", tensors(LAYERS))
    write_lora(late.path, seed=2)
    with pytest.raises(ModelError, match=r"adapters\.a: .* was changed while the job ran"):
        tensors_of(late)
    late.path.unlink()
    with pytest.raises(ModelError, match=r"adapters\.a: .* is gone"):
        tensors_of(late)
