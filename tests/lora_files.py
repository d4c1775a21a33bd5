"""LoRA files for a model, of random values, in the spellings that are in use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from batchgen.adapters.lora_file import Shapes
from batchgen.adapters.lora_names import COMPONENTS

LAYERS: Shapes = {
    "unet": {
        "conv_in": (8, 4, 3, 3),
        "down_blocks.0.resnets.0.conv1": (8, 8, 3, 3),
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": (8, 8),
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0": (8, 8),
    },
    "text_encoder": {"text_model.encoder.layers.0.self_attn.q_proj": (6, 6)},
    "text_encoder_2": {"text_projection": (6, 6)},
}
"""A model that is small enough to be written down."""


def peft(component: str, module: str) -> tuple[str, str, str]:
    """Names of PEFT: of down, up and alpha."""
    stem = f"{component}.{module}"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight", f"{stem}.alpha"


def kohya(component: str, module: str) -> tuple[str, str, str]:
    """Names of kohya's scripts, on diffusers' paths."""
    stem = f"{COMPONENTS[component]}{module.replace('.', '_')}"
    return f"{stem}.lora_down.weight", f"{stem}.lora_up.weight", f"{stem}.alpha"


def tensors(
    shapes: Shapes,
    names: Any = peft,
    *,
    rank: int = 2,
    alpha: float | None = None,
    seed: int = 1,
    size: float = 0.3,
) -> dict[str, NDArray[np.float32]]:
    """Return a LoRA of all layers of `shapes`."""
    stream = np.random.default_rng(seed)
    made: dict[str, NDArray[Any]] = {}
    for component, layers in shapes.items():
        for module, (n_out, *within) in layers.items():
            down, up, alpha_name = names(component, module)
            made[down] = stream.normal(0, size, (rank, *within))
            made[up] = stream.normal(0, size, (n_out, rank, *(1 for _ in within[1:])))
            if alpha is not None:
                made[alpha_name] = np.array(alpha)
    return {name: value.astype(np.float32) for name, value in made.items()}


def write_lora(
    path: Path, values: Mapping[str, NDArray[Any]] | None = None, **options: Any
) -> Path:
    """Write a LoRA, by default one of `LAYERS`, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = options.pop("metadata", None)
    save_file(dict(values or tensors(LAYERS, **options)), path, metadata=metadata)
    return path
