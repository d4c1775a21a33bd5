"""What the first release of SDXL calls the layers of the UNet, for single files and for LoRA files.

Its blocks count on through all levels: of each level the residual blocks, then what changes the
size (openaimodel.py of Stability-AI/generative-models).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_STEM = {
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "time_embedding.cond_proj": "time_embed.cond_proj",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}  # fmt: skip

_LAYERS = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip

_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)")


def original(name: str, layers_per_block: int, has_attention: Callable[[int], bool]) -> str:
    """Return the original name of a layer, or of a tensor of it.

    Args:
        name: As diffusers has it, without the component.
        layers_per_block: Residual blocks of a level on the way down, the same on each.
        has_attention: Whether a level on the way up has attention.
    """
    found = _BLOCK.fullmatch(name)
    if not found:
        return _layers(replaced(name, _STEM))
    way, level, part, layer, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    step = layers_per_block + 1
    if part == "downsamplers":
        return f"input_blocks.{step * (level + 1)}.0.{replaced(rest, {'conv': 'op'})}"
    if part == "upsamplers":
        place = 2 if has_attention(level) else 1
        return f"output_blocks.{step * level + layers_per_block}.{place}.{rest}"
    column = 1 if part == "attentions" else 0
    if way == "down":
        return _layers(f"input_blocks.{step * level + layer + 1}.{column}.{rest}")
    return _layers(f"output_blocks.{step * level + layer}.{column}.{rest}")


def _layers(name: str) -> str:
    """Name the layers of a residual block; those of a transformer are called alike."""
    return name if ".transformer_blocks." in name else replaced(name, _LAYERS)


def replaced(name: str, parts: Mapping[str, str]) -> str:
    """Return `name` with each of `parts` replaced; a part is whole words between dots."""
    for part, replacement in parts.items():
        name = re.sub(rf"(?<![^.]){re.escape(part)}(?![^.])", replacement, name)
    return name
