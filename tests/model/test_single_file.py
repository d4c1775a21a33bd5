"""Single files: their names are those that mindone's own conversion reads, and pixels are equal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import full_size
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tiny_model import CONFIGS, change, joined, weight_file, write_model, write_scheduler

from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.models import DemoModel, SdxlModel
from batchgen.errors import ModelError
from batchgen.model import shapes, weights
from batchgen.model.model_files import ModelFiles
from batchgen.model.single_file import PREFIXES, original_name
from batchgen.pipelines.factory import load
from batchgen.pipelines.mindspore.loading import import_mindone
from batchgen.pipelines.mindspore.machine import Machine
from batchgen.pipelines.mindspore.sdxl import SdxlPipeline

Tensors = dict[str, NDArray[Any]]


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    """A single file, and a folder with all but tensors."""
    folder = write_model(tmp_path / "model")
    single = tmp_path / "sd_xl_base_1.0.safetensors"
    save_file(joined(folder, "fp16", CONFIGS), single)
    for component in CONFIGS:
        weight_file(folder, component).unlink()
    return ModelFiles(folder, "fp16", single)


def single_of(files: ModelFiles) -> Path:
    """Return the single file."""
    assert files.single is not None
    return files.single


def test_whole_file_passes(files: ModelFiles) -> None:
    """With the tensors that its first release has and no model needs."""
    positions = "conditioner__embedders__0__transformer__text_model__embeddings__position_ids"
    scale = "conditioner__embedders__1__model__logit_scale"
    change(single_of(files), **{positions: np.arange(7)[None], scale: np.ones((), np.float32)})
    change(single_of(files), denoiser__sigmas=np.ones(3, np.float32))
    files.check()


def test_model_that_predicts_v_needs_a_scheduler_that_knows(files: ModelFiles) -> None:
    """With SDXL's own scheduler it would paint noise all night."""
    change(single_of(files), v_pred=np.zeros(0, np.float32))
    with pytest.raises(ModelError, match=r"predicts v, .*model\.config_path.*v_prediction"):
        files.check()
    write_scheduler(files.folder, prediction_type="v_prediction")
    files.check()


def test_a_single_file_may_have_fewer_transformers(tmp_path: Path) -> None:
    """As those of SSD-1B, whose layers have the same names."""
    fewer = {
        "mid_block_type": "UNetMidBlock2D", "transformer_layers_per_block": [0, [2]],
        "reverse_transformer_layers_per_block": [[2, 3], 0],
    }  # fmt: skip
    folder = write_model(tmp_path / "model", unet=fewer)
    single = tmp_path / "SSD-1B.safetensors"
    configs = CONFIGS | {"unet": CONFIGS["unet"] | fewer}
    content = joined(folder, "fp16", configs)
    save_file(content, single)
    ModelFiles(folder, "fp16", single).check()
    assert "model.diffusion_model.middle_block.0.in_layers.0.weight" in content
    assert not any("middle_block.1." in name for name in content)


@pytest.mark.parametrize(
    "key",
    [
        "model__diffusion_model__input_blocks__0__0__weight",
        "first_stage_model__decoder__mid__attn_1__q__weight",
        "conditioner__embedders__0__transformer__text_model__final_layer_norm__bias",
        "conditioner__embedders__1__model__transformer__resblocks__0__attn__in_proj_weight",
        "conditioner__embedders__1__model__text_projection",
    ],
)
def test_missing_tensor_is_refused(files: ModelFiles, key: str) -> None:
    """In each of the components, under diffusers' name for it."""
    change(single_of(files), **{key: None})
    with pytest.raises(
        ModelError, match=r"sd_xl_base_1\.0\.safetensors is not a complete .* is missing"
    ):
        files.check()


def test_tensor_of_another_shape_is_refused(files: ModelFiles) -> None:
    """Queries, keys and values that are not three of a kind."""
    key = "conditioner__embedders__1__model__transformer__resblocks__0__attn__in_proj_bias"
    change(single_of(files), **{key: np.zeros(7, np.float16)})
    with pytest.raises(ModelError, match=r"q_proj\.bias is 7, not 2"):
        files.check()


def test_unknown_tensor_of_a_component_is_refused(files: ModelFiles) -> None:
    """The UNet of a larger model has more than this config calls for."""
    change(single_of(files), model__diffusion_model__input_blocks__9__0=np.zeros(2, np.float16))
    with pytest.raises(ModelError, match=r"input_blocks\.9\.0\. They do not belong together"):
        files.check()


def test_file_without_configs_says_how_to_get_them(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They are looked for in the caches, or named with model.config_path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BATCHGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    path = str(single_of(files))
    with pytest.raises(ModelError, match=r"batchgen download model\.path=.*model\.config_path"):
        weights.find(SdxlModel(path=path))
    found = weights.find(SdxlModel(path=path, config_path=str(files.folder)))
    assert (found.single, found.folder) == (files.single, files.folder)
    shutil.copytree(files.folder, tmp_path / "models/stable-diffusion-xl-base-1.0")
    assert weights.find(SdxlModel(path=path)).single == files.single


def test_other_files_are_not_opened(tmp_path: Path) -> None:
    """A .ckpt is a pickle."""
    (tmp_path / "model.ckpt").write_bytes(b"\x80")
    with pytest.raises(ModelError, match=r"not a \.safetensors file; opening another can run any"):
        weights.find(SdxlModel(path=str(tmp_path / "model.ckpt")))


def test_identity_is_that_of_the_contents(
    files: ModelFiles, tmp_path: Path, monkeypatch: Any
) -> None:
    """Not of the file's name."""
    monkeypatch.setenv("BATCHGEN_CACHE", str(tmp_path / "cache"))
    path = single_of(files)

    def revision(file: Path) -> str:
        model = SdxlModel(path=str(file), config_path=str(files.folder))
        return weights.identity(model, DeviceKind.cpu).revision

    before = revision(path)
    path = path.rename(tmp_path / "renamed.safetensors")
    assert revision(path) == before
    change(path, model__diffusion_model__out__2__bias=np.ones(4, np.float16))
    assert revision(path) != before


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder"])
def test_names_are_those_that_mindones_conversion_reads(component: str) -> None:
    """The full-size SDXL under our names for a single file comes out under diffusers' names."""
    Machine(DeviceConfig(), DeviceKind.cpu, one_core=True)
    import_mindone()
    from mindone.diffusers.loaders import single_file_utils as theirs

    config = full_size.CONFIGS[component]
    names = [name for name, _ in shapes.tensors(component, config)]
    single = {PREFIXES[component] + original_name(component, n, config): n for n in names}
    assert len(single) == len(names)
    if component == "unet":
        found = theirs.convert_ldm_unet_checkpoint(single, config)
    elif component == "text_encoder":
        found = theirs.convert_ldm_clip_checkpoint(single)
    else:
        import mindspore as ms

        # Its attention is cut from 1 x 1 convolutions, so here are tensors with numbers.
        numbered = {
            key: ms.Parameter(np.full((1, 1, 1, 1), names.index(name), np.float32), name=key)
            for key, name in single.items()
        }
        converted = theirs.convert_ldm_vae_checkpoint(numbered, config)
        found = {key: names[int(tensor.asnumpy().item())] for key, tensor in converted.items()}
    assert found == {name: name for name in names}


def test_second_text_encoder_is_that_of_mindones_conversion(tmp_path: Path) -> None:
    """Queries, keys and values are cut in the same order, the projection is turned alike."""
    Machine(DeviceConfig(), DeviceKind.cpu, one_core=True)
    import_mindone()
    import mindspore as ms
    from mindone.diffusers.loaders import single_file_utils as theirs

    folder = write_model(tmp_path / "model")
    file, stream = weight_file(folder, "text_encoder_2"), np.random.default_rng(0)
    save_file(
        {k: stream.random(v.shape).astype(np.float16) for k, v in load_file(file).items()}, file
    )
    single = joined(folder, "fp16", CONFIGS)
    save_file(single, tmp_path / "single.safetensors")
    ours = ModelFiles(folder, "fp16", tmp_path / "single.safetensors").tensors("text_encoder_2")
    prefix = PREFIXES["text_encoder_2"]
    part = {k: ms.Parameter(v, name=k) for k, v in single.items() if k.startswith(prefix)}
    found = theirs.convert_open_clip_checkpoint(None, part, prefix=prefix)
    with safe_open(str(tmp_path / "single.safetensors"), framework="np") as opened:
        for name, tensor in ours.items():
            np.testing.assert_array_equal(tensor.read(opened), found.pop(name).asnumpy())
    assert not found


def test_pictures_are_those_of_the_folder(tmp_path: Path) -> None:
    """The demo model as a folder and as a single file: the same parameters, bit for bit."""
    folder = weights.DEMO_FOLDER
    configs = {name: json.loads((folder / name / "config.json").read_text()) for name in PREFIXES}
    single = tmp_path / "single.safetensors"
    save_file(joined(folder, None, configs), single)
    model = SdxlModel(path=str(single), config_path=str(folder), full_size=False)
    ours, theirs = (load(m, DeviceConfig(), DeviceKind.cpu) for m in (model, DemoModel()))
    assert isinstance(ours, SdxlPipeline)
    assert isinstance(theirs, SdxlPipeline)
    for name in PREFIXES:
        pairs = zip(
            getattr(ours.pipe, name).get_parameters(),
            getattr(theirs.pipe, name).get_parameters(),
            strict=True,
        )
        assert all(np.array_equal(a.asnumpy(), b.asnumpy()) for a, b in pairs)
