"""What is in a LoRA file, and whether it fits a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lora_files import LAYERS, kohya, peft, tensors, write_lora

from batchgen.adapters.lora_file import LoraFile, layers_of
from batchgen.errors import ModelError

CONV = "down_blocks.0.resnets.0.conv1"
TO_Q = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


def written(path: Path, **changed: Any) -> Path:
    """Write the LoRA of `LAYERS` with some tensors other than they should be, None for none."""
    values = {**tensors(LAYERS), **changed}
    return write_lora(path / "a.safetensors", {k: v for k, v in values.items() if v is not None})


@pytest.mark.parametrize("names", [peft, kohya])
def test_every_layer_is_found_by_its_name(tmp_path: Path, names: Any) -> None:
    """The UNet's, convolutions as well, and those of both text encoders."""
    file = write_lora(tmp_path / "a.safetensors", names=names, rank=3)
    layers = LoraFile(file).layers(LAYERS)
    expected = {(component, module) for component in LAYERS for module in LAYERS[component]}
    assert {(layer.component, layer.module) for layer in layers} == expected
    assert {layer.rank for layer in layers} == {3}


def test_alpha_is_the_rank_where_nothing_says_another(tmp_path: Path) -> None:
    """So that the weight alone scales."""
    layers = LoraFile(write_lora(tmp_path / "a.safetensors", rank=4)).layers(LAYERS)
    assert {(layer.alpha, layer.alpha_tensor) for layer in layers} == {(4.0, None)}


def test_alpha_may_be_a_tensor(tmp_path: Path) -> None:
    """As kohya's scripts write it, one for each layer."""
    file = write_lora(tmp_path / "a.safetensors", names=kohya, alpha=1.0)
    assert all(layer.alpha_tensor in tensors(LAYERS, kohya, alpha=1.0) for layer in
               LoraFile(file).layers(LAYERS))  # fmt: skip


def test_alpha_may_stand_in_the_header(tmp_path: Path) -> None:
    """As diffusers writes it since 0.34: PEFT's settings, with exceptions by pattern."""
    settings = {"unet.lora_alpha": 8, "unet.alpha_pattern": {"conv_in": 3}, "unet.use_rslora": True}
    metadata = {"lora_adapter_metadata": json.dumps(settings)}
    layers = LoraFile(write_lora(tmp_path / "a.safetensors", rank=4, metadata=metadata)).layers(
        LAYERS
    )
    alphas = {layer.module: layer.alpha for layer in layers}
    assert (alphas["conv_in"], alphas[CONV]) == (3 * 2, 8 * 2)
    assert alphas["text_projection"] == 4


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({f"{TO_Q}.lora_A.weight": np.zeros((2, 7))}, f"tensor {TO_Q}.lora_A.weight is (2, 7)"),
        ({f"{TO_Q}.lora_B.weight": np.zeros((8, 3))}, f"tensor {TO_Q}.lora_B.weight is (8, 3)"),
        ({f"unet.{CONV}.lora_A.weight": np.zeros((2, 8))}, f"tensor unet.{CONV}.lora_A.weight"),
        (
            {"unet.mid.lora_A.weight": np.zeros(2), "unet.mid.lora_B.weight": np.zeros(2)},
            "tensor unet.mid.lora_A.weight is for a layer it does not have",
        ),
    ],
)
def test_another_architecture_is_refused(
    tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    """By the first tensor that does not fit; nothing is left out in silence."""
    with pytest.raises(ModelError, match="does not fit this model") as refused:
        LoraFile(written(tmp_path, **changed)).layers(LAYERS)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"vae.weight": np.zeros(2)}, "is not a LoRA .*: tensor vae.weight has no such name"),
        ({f"{TO_Q}.lora_B.weight": None}, f"is not a LoRA .*: {TO_Q} has down only"),
        ({f"{TO_Q}.dora_scale": np.zeros(2)}, f"is a DoRA .tensor {TO_Q}.dora_scale."),
        ({f"{TO_Q}.hada_w1_a": np.zeros(2)}, "is a LoHa"),
        ({f"{TO_Q}.lora_A.weight": np.zeros((2, 8), np.int8)}, "of type I8, not F16, BF16, F32"),
    ],
)
def test_what_is_no_plain_lora_is_refused(
    tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    """MindOne would leave out, or misread, what it does not know."""
    with pytest.raises(ModelError, match=reason):
        LoraFile(written(tmp_path, **changed))


@pytest.mark.parametrize(
    "content",
    [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x80\x04K\x01.", b"\xff" * 200],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, a pointer, a pickle, noise."""
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.safetensors is not a complete safetensors file"):
        LoraFile(tmp_path / "a.safetensors")


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    """The header promises more than there is."""
    file = write_lora(tmp_path / "a.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelError, match="not a complete safetensors file"):
        LoraFile(file)


def test_an_adapter_can_change_linear_layers_and_convolutions() -> None:
    """No norms, no embeddings."""
    weights = {
        "to_q.weight": (4, 4),
        "to_q.bias": (4,),
        "norm.weight": (4,),
        "conv.weight": (4, 4, 3, 3),
        "embeddings.token_embedding.weight": (9, 4),
        "time_embedding.linear_1.weight": (8, 4),
    }
    assert layers_of(weights) == {
        "to_q": (4, 4), "conv": (4, 4, 3, 3), "time_embedding.linear_1": (8, 4),
    }  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"unet.lora_alpha": "big"},
        {"unet.lora_alpha": None},
        {"unet.alpha_pattern": [1]},
        {"unet.alpha_pattern": {"(": 1}},
        {"unet.alpha_pattern": {".*": "x"}},
    ],
)
def test_alphas_that_are_none_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    """What other tools write into the header is not believed to be PEFT's."""
    metadata = {"lora_adapter_metadata": json.dumps(settings)}
    file = write_lora(tmp_path / "a.safetensors", metadata=metadata)
    with pytest.raises(ModelError, match="the alphas in its lora_adapter_metadata are not numbers"):
        LoraFile(file).layers(LAYERS)


def test_an_alpha_of_several_numbers_is_refused(tmp_path: Path) -> None:
    """It would fail row by row, when the first image that names the adapter is made."""
    file = written(tmp_path, **{f"{TO_Q}.alpha": np.ones(2, np.float32)})
    with pytest.raises(ModelError, match=r"alpha is \(2,\), not a number"):
        LoraFile(file).layers(LAYERS)


@pytest.mark.parametrize("end", ["lora_down", "lora.down"])
def test_two_names_for_one_tensor_are_refused(tmp_path: Path, end: str) -> None:
    """Of two parts only one could be applied, and which one would be chance."""
    file = written(tmp_path, **{f"{TO_Q}.{end}.weight": np.ones((2, 8), np.float32)})
    with pytest.raises(ModelError, match=r"tensors .* and .* are for the same"):
        LoraFile(file)


def test_one_layer_under_two_spellings_is_refused(tmp_path: Path) -> None:
    """As where the files of two tools were merged."""
    file = written(tmp_path, **tensors({"unet": {"conv_in": LAYERS["unet"]["conv_in"]}}, kohya))
    with pytest.raises(ModelError, match=r"tensors .* and .* are for the same"):
        LoraFile(file).layers(LAYERS)
