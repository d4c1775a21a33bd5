"""Derived names and shapes are those of the models that mindone builds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import full_size
import pytest

from batchgen import shapes
from batchgen.config import DeviceConfig, DeviceKind
from batchgen.pipelines.loading import built, import_mindone
from batchgen.pipelines.machine import Machine

CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("unet", {}),
    ("unet", {"use_linear_projection": False, "layers_per_block": [1, 2, 3]}),
    ("unet", {"transformer_layers_per_block": 1, "time_cond_proj_dim": 256}),
    ("unet", {"block_out_channels": [64, 128], "attention_head_dim": 8,
              "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
              "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
              "transformer_layers_per_block": [3, 1]}),
    ("vae", {}),
    ("vae", {"layers_per_block": 1, "use_quant_conv": False, "use_post_quant_conv": False}),
    ("vae", {"mid_block_add_attention": False, "latent_channels": 16}),
    ("text_encoder", {}),
    ("text_encoder_2", {}),
    ("text_encoder_2", {"projection_dim": 640, "num_hidden_layers": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("component", "changes"), CHANGES)
def test_tensors_are_those_of_mindones_model(
    tmp_path: Path, component: str, changes: dict[str, Any]
) -> None:
    """The full-size SDXL, and others that its configs can say; parameters take no memory."""
    Machine(DeviceConfig(), DeviceKind.cpu, one_core=True)
    import_mindone()
    config = full_size.CONFIGS[component] | changes
    full_size.write_json(tmp_path / component / "config.json", config)
    model = built(component, str(tmp_path / component))
    theirs = {
        shapes.canonical(name): tuple(tensor.shape) for name, tensor in model.parameters_and_names()
    }
    assert dict(shapes.tensors(component, config)) == theirs


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
