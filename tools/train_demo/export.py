"""Write the trained parts as one folder in diffusers' layout, float16 safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn
from transformers import CLIPTokenizer

from tools.train_demo.architecture import (
    END,
    MODEL_INDEX,
    SCHEDULER,
    UNET,
    VAE,
    text_config,
    tokenizer_config,
    vocabulary,
)


def write_tokenizers(folder: Path) -> list[CLIPTokenizer]:
    """Write both tokenizers below a model's folder; they differ in what they pad with."""
    tokens, merges = vocabulary()
    tokenizers = []
    for name, pad in (("tokenizer", END), ("tokenizer_2", "!")):
        place = folder / name
        _write(place / "vocab.json", tokens)
        (place / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", "utf-8")
        _write(place / "tokenizer_config.json", tokenizer_config(pad))
        tokenizers.append(CLIPTokenizer.from_pretrained(place))
    return tokenizers


def write(folder: Path, denoiser: nn.Module, vae: Any) -> None:
    """Write all but the tokenizers; names of files, tensors and keys are diffusers' own."""
    _write(folder / "model_index.json", MODEL_INDEX)
    _write(
        folder / "scheduler" / "scheduler_config.json",
        {"_class_name": "EulerDiscreteScheduler", **SCHEDULER},
    )
    first = text_config(END, "quick_gelu") | {"architectures": ["CLIPTextModel"]}
    second = text_config("!", "gelu") | {"architectures": ["CLIPTextModelWithProjection"]}
    coder = VAE | {"scaling_factor": round(vae.config.scaling_factor, 5)}
    _component(
        folder, "text_encoder", denoiser.text_encoder, first | {"model_type": "clip_text_model"}
    )
    _component(
        folder,
        "text_encoder_2",
        denoiser.text_encoder_2,
        second | {"model_type": "clip_text_model"},
    )
    _component(folder, "unet", denoiser.unet, {"_class_name": "UNet2DConditionModel", **UNET})
    _component(folder, "vae", vae, {"_class_name": "AutoencoderKL", **coder})


def _component(folder: Path, name: str, model: Any, config: dict[str, Any]) -> None:
    stem = "model" if name.startswith("text") else "diffusion_pytorch_model"
    _write(folder / name / "config.json", config)
    tensors = {
        key: tensor.half().contiguous()
        for key, tensor in model.state_dict().items()
        if not key.endswith("position_ids")
    }
    whole = save(tensors, metadata={"format": "pt"})
    (folder / name / f"{stem}.safetensors").write_bytes(whole)


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
