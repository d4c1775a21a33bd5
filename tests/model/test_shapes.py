"""Derived names and shapes are those of the models that mindone builds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import full_size
import pytest

from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.model import shapes
from batchgen.pipelines.mindspore.loading import built, import_mindone
from batchgen.pipelines.mindspore.machine import Machine

CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("unet", {}),
    ("unet", {"use_linear_projection": False, "layers_per_block": [1, 2, 3]}),
    ("unet", {"transformer_layers_per_block": 1, "time_cond_proj_dim": 256}),
    ("unet", {"block_out_channels": [64, 128], "attention_head_dim": 8,
              "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
              "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
              "transformer_layers_per_block": [3, 1]}),
    ("unet", {"mid_block_type": "UNetMidBlock2D", "transformer_layers_per_block": [0, 2, 4],
              "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1]}),
    ("unet", {"mid_block_type": "UNetMidBlock2D",
              "transformer_layers_per_block": [1, [1, 1], [2, 2]],
              "reverse_transformer_layers_per_block": [[2, 2, 2], [1, 1, 1], 1]}),
    ("unet", {"transformer_layers_per_block": [1, [2, 1], [3, 4]],
              "reverse_transformer_layers_per_block": [3, [2, 1, 2], 1]}),
    ("vae", {}),
    ("vae", {"layers_per_block": 1, "use_quant_conv": False, "use_post_quant_conv": False}),
    ("vae", {"mid_block_add_attention": False, "latent_channels": 16}),
    ("text_encoder", {}),
    ("text_encoder_2", {}),
    ("text_encoder_2", {"projection_dim": 640, "num_hidden_layers": 1}),
]  # fmt: skip


def of_mindone(folder: Path, component: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the shapes of what mindone builds from a config, by diffusers' names."""
    Machine(DeviceConfig(), DeviceKind.cpu, one_core=True)
    import_mindone()
    full_size.write_json(folder / component / "config.json", config)
    parameters = built(component, str(folder / component)).parameters_and_names()
    return {shapes.canonical(name): tuple(tensor.shape) for name, tensor in parameters}


@pytest.mark.parametrize(("component", "changes"), CHANGES)
def test_tensors_are_those_of_mindones_model(
    tmp_path: Path, component: str, changes: dict[str, Any]
) -> None:
    """The full-size SDXL, and others that its configs can say; parameters take no memory."""
    config = full_size.CONFIGS[component] | changes
    assert dict(shapes.tensors(component, config)) == of_mindone(tmp_path, component, config)


@pytest.mark.parametrize("component", ["vae", "text_encoder", "text_encoder_2"])
def test_silent_config_means_what_it_means_to_mindone(tmp_path: Path, component: str) -> None:
    """Defaults are diffusers' and transformers'."""
    blocks = {"down_block_types": ["DownEncoderBlock2D"], "up_block_types": ["UpDecoderBlock2D"]}
    config = blocks if component == "vae" else {"model_type": "clip_text_model"}
    assert dict(shapes.tensors(component, config)) == of_mindone(tmp_path, component, config)


def test_unet_config_silent_about_its_embedding_is_refused() -> None:
    """Diffusers would build one without size and crop, and leave SDXL's tensors for them out."""
    config = {k: v for k, v in full_size.UNET.items() if k != "addition_embed_type"}
    with pytest.raises(ValueError, match="addition_embed_type=None, where SDXL has text_time"):
        list(shapes.tensors("unet", config))


def test_parameters_of_sdxl_are_as_many_as_published() -> None:
    """2.6 thousand million in the UNet, 0.8 in both text encoders (arXiv 2307.01952)."""
    n = {
        name: sum(math.prod(shape) for _, shape in shapes.tensors(name, config)) / 1e9
        for name, config in full_size.CONFIGS.items()
    }
    assert round(n["unet"], 1) == 2.6
    assert round(n["text_encoder"] + n["text_encoder_2"], 1) == 0.8


def test_a_name_of_today_stays_as_it_is() -> None:
    """Only what older or other writers called otherwise is renamed."""
    for component, config in full_size.CONFIGS.items():
        assert all(shapes.canonical(name) == name for name, _ in shapes.tensors(component, config))
