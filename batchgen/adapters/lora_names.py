"""What LoRA files call the layers of a model.

Two families of names are in use: diffusers' and PEFT's, with the layer's dotted path, and those of
kohya's sd-scripts, with the path flattened by underscores, of the UNet either diffusers' path or
that of the original implementation (`input_blocks`). A name is looked up among those that the
model's own layers would have; none is taken apart and guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

COMPONENTS = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
"""What of SDXL an adapter can change, and what kohya's names for it begin with."""


def spellings(component: str, module: str, modules: Collection[str]) -> Iterator[str]:
    """Yield what files call a layer of a component that has these `modules`."""
    yield f"{component}.{module}"
    parent, _, last = module.removesuffix(".0").rpartition(".")
    if parent.endswith(("attn1", "attn2")):
        yield f"{component}.{parent}.processor.{last}"
        yield f"{component}.{module.removesuffix('.0')}"
    flat = module.replace(".", "_")
    yield f"{COMPONENTS[component]}{flat}"
    if component == "text_encoder":
        yield f"lora_te_{flat}"
    if component == "unet":
        original = _original(module, modules)
        yield f"{COMPONENTS[component]}{original.replace('.', '_')}"


_BLOCK = re.compile(
    r"(down_blocks|up_blocks|mid_block)\.(?:(\d+)\.)?"
    r"(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
_INNER = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTER = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def _original(module: str, modules: Collection[str]) -> str:
    """Return what the original implementation of SDXL's UNet calls a layer.

    Its blocks count on through all levels: of each level the residual blocks, then what changes the
    size. (openaimodel.py of Stability-AI/generative-models.)
    """
    match = _BLOCK.fullmatch(module)
    if match is None:
        return _OUTER.get(module, module)
    side, level, kind, index, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    rest = _INNER.get(rest, rest) if kind == "resnets" else rest
    if side == "mid_block":
        return f"middle_block.{2 * index if kind == 'resnets' else 1}.{rest}"
    resnets = {name.split(".")[3] for name in modules if name.startswith("down_blocks.0.resnets.")}
    per_level = len(resnets) + 1
    if kind == "downsamplers":
        return f"input_blocks.{(level + 1) * per_level}.0.op"
    if kind == "upsamplers":
        has_attention = any(name.startswith(f"up_blocks.{level}.attentions.") for name in modules)
        place = 2 if has_attention else 1
        return f"output_blocks.{level * per_level + per_level - 1}.{place}.{rest}"
    at = level * per_level + index + (side == "down_blocks")
    blocks = "input_blocks" if side == "down_blocks" else "output_blocks"
    return f"{blocks}.{at}.{0 if kind == 'resnets' else 1}.{rest}"
