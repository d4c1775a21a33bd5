"""A whole SDXL of a few thousand zeros, for tests that read model files and build no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from batchgen.model import model_files, shapes, vocabulary
from batchgen.model.single_file import PREFIXES, original_name

TEXT: dict[str, Any] = {
    "vocab_size": 514, "hidden_size": 2, "intermediate_size": 4, "num_hidden_layers": 1,
    "projection_dim": 3, "max_position_embeddings": 7,
}  # fmt: skip

CONFIGS: dict[str, dict[str, Any]] = {
    "unet": {
        "block_out_channels": [2, 4], "layers_per_block": 1, "cross_attention_dim": 4,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "use_linear_projection": True,
        "addition_embed_type": "text_time", "projection_class_embeddings_input_dim": 8,
    },
    "vae": {
        "block_out_channels": [2, 4], "layers_per_block": 1,
        "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
    },
    "text_encoder": TEXT,
    "text_encoder_2": TEXT,
}  # fmt: skip


REMOVED = object()

SCHEDULER: dict[str, Any] = {
    "_class_name": "EulerDiscreteScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085,
    "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "epsilon",
    "timestep_spacing": "leading",
}  # fmt: skip
"""SDXL's own, in `scheduler/scheduler_config.json`."""


def weight_file(folder: Path, component: str, variant: str | None = "fp16") -> Path:
    """Return where a component's tensors are."""
    dotted = f".{variant}" if variant else ""
    return folder / component / f"{model_files.WEIGHTS[component]}{dotted}.safetensors"


def write_model(
    folder: Path, variant: str | None = "fp16", *, unet: dict[str, Any] | None = None
) -> Path:
    """Write a whole model, and return its folder; `unet` is added to the config of its UNet."""
    configs = CONFIGS | {"unet": CONFIGS["unet"] | (unet or {})}
    for component, config in configs.items():
        (folder / component).mkdir(parents=True)
        (folder / component / "config.json").write_text(json.dumps(config))
        tensors = shapes.tensors(component, config)
        zeros = {name: np.zeros(shape, np.float16) for name, shape in tensors}
        save_file(zeros, weight_file(folder, component, variant))
    for component, names in model_files.OTHERS.items():
        (folder / component).mkdir()
        for name in names:
            (folder / component / name).write_text("{}")
        if component.startswith("tokenizer"):
            tokens = {f"token{number}": number for number in range(vocabulary.BYTE_TOKENS)}
            (folder / component / "vocab.json").write_text(json.dumps(tokens))
            (folder / component / "merges.txt").write_text("#version: 0.2\n")
    write_scheduler(folder)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    return folder


def write_scheduler(folder: Path, **changes: Any) -> Path:
    """Write SDXL's scheduler with changes, `REMOVED` for a key to leave out; return the file."""
    config = {k: v for k, v in (SCHEDULER | changes).items() if v is not REMOVED}
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(config))
    return file


def change(file: Path, **tensors: Any) -> None:
    """Set tensors of a file, by name with `__` for dots; None takes one away."""
    content = load_file(file)
    for key, value in tensors.items():
        name = key.replace("__", ".")
        if value is None:
            del content[name]
        else:
            content[name] = value
    save_file(content, file)


def write_shards(unet: Path) -> list[str]:
    """Cut the tensors of a folder's one file into two, and return their names."""
    whole = unet / "diffusion_pytorch_model.fp16.safetensors"
    content = load_file(whole)
    whole.unlink()
    shards = [f"diffusion_pytorch_model.fp16-0000{n}-of-00002.safetensors" for n in (1, 2)]
    place = {name: shards[number % 2] for number, name in enumerate(sorted(content))}
    for shard in shards:
        save_file({k: v for k, v in content.items() if place[k] == shard}, unet / shard)
    index = unet / "diffusion_pytorch_model.safetensors.index.fp16.json"
    index.write_text(json.dumps({"weight_map": place}))
    return shards


def joined(
    folder: Path, variant: str | None, configs: dict[str, dict[str, Any]]
) -> dict[str, NDArray[Any]]:
    """Return a folder's tensors under the names, and in the shapes, of a single file."""
    single: dict[str, NDArray[Any]] = {}
    for component, config in configs.items():
        for name, tensor in load_file(weight_file(folder, component, variant)).items():
            key = PREFIXES[component] + original_name(component, name, config)
            if key.endswith(("in_proj_weight", "in_proj_bias")):
                parts = single.setdefault(key, np.zeros((3, *tensor.shape), tensor.dtype))
                parts["qkv".index(name.partition("self_attn.")[2][0])] = tensor
            elif key.endswith(".text_projection"):
                single[key] = np.ascontiguousarray(tensor.T)
            elif component == "vae" and ".attentions." in name and tensor.ndim == 2:
                single[key] = tensor[:, :, None, None]
            else:
                single[key] = tensor
    thirds = {k: v.reshape(-1, *v.shape[2:]) for k, v in single.items() if ".in_proj_" in k}
    return single | thirds
