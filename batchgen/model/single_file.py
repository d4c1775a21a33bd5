"""SDXL in one file, under the names of its first release (`sd_xl_base_1.0.safetensors`).

Knows which of the file's tensors is which of diffusers'. The names are those of Stability AI's
`generative-models`: the UNet and the VAE as in latent diffusion, the first text encoder as in
transformers, the second as in OpenCLIP, which keeps queries, keys and values in one tensor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from batchgen.model.tensors import Stored
from batchgen.model.unet_names import original, replaced

PREFIXES = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "text_encoder": "conditioner.embedders.0.transformer.",
    "text_encoder_2": "conditioner.embedders.1.model.",
}
"""What the names of a component's tensors begin with."""

_VAE_PARTS = {
    "mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0.group_norm": "mid.attn_1.norm",
    "mid_block.attentions.0.to_q": "mid.attn_1.q", "mid_block.attentions.0.to_k": "mid.attn_1.k",
    "mid_block.attentions.0.to_v": "mid.attn_1.v",
    "mid_block.attentions.0.to_out.0": "mid.attn_1.proj_out",
    "conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut",
}  # fmt: skip

_OPENCLIP = {
    "embeddings.token_embedding": "token_embedding", "final_layer_norm": "ln_final",
    "encoder.layers": "transformer.resblocks", "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
}  # fmt: skip


def find(
    header: Mapping[str, Stored], component: str, name: str, config: Mapping[str, Any]
) -> Stored | None:
    """The tensor that diffusers or transformers calls `name`, in the shape it has there.

    None if the file lacks it. Raises a `TypeError` for a config that no single file can have.
    """
    tensor = header.get(PREFIXES[component] + original_name(component, name, config))
    if tensor is None:
        return None
    shape = tensor.shape
    if component == "vae" and ".attentions." in name and shape[2:] == (1, 1):
        return replace(tensor, shape=shape[:2])  # a 1 x 1 convolution there, linear here
    if component == "text_encoder_2" and name == "text_projection.weight":
        return replace(tensor, shape=shape[::-1], is_transposed=True)
    third = re.search(r"self_attn\.([qkv])_proj\.", name)
    if component == "text_encoder_2" and third and shape[:1] and shape[0] % 3 == 0:
        return replace(tensor, shape=(shape[0] // 3, *shape[1:]), third="qkv".index(third[1]))
    return tensor


def original_name(component: str, name: str, config: Mapping[str, Any]) -> str:
    """The name in a single file, without the component's prefix.

    For one of queries, keys and values of the second text encoder it is that of all three.
    """
    if component == "unet":
        return _unet(name, config)
    if component == "vae":
        return _vae(name, config)
    return name if component == "text_encoder" else _openclip(name)


def _unet(name: str, config: Mapping[str, Any]) -> str:
    n_layers = config.get("layers_per_block", 2)
    if not isinstance(n_layers, int):
        raise TypeError(f"layers_per_block={n_layers}: a single file has the same in each block")
    kinds = config["up_block_types"]
    return original(name, n_layers, lambda level: bool(kinds[level].startswith("CrossAttn")))


def _vae(name: str, config: Mapping[str, Any]) -> str:
    name = replaced(name, _VAE_PARTS)
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
    last = len(config["block_out_channels"]) - 1

    def up(found: re.Match[str]) -> str:
        part = "block." if found[2] == "resnets." else "upsample."
        return f"up.{last - int(found[1])}.{part}"

    return re.sub(r"up_blocks\.(\d+)\.(resnets\.|upsamplers\.0\.)", up, name)


def _openclip(name: str) -> str:
    name = name.removeprefix("text_model.")
    if name == "embeddings.position_embedding.weight":
        return "positional_embedding"
    if name == "text_projection.weight":
        return "text_projection"
    name = re.sub(r"self_attn\.[qkv]_proj\.(weight|bias)", r"attn.in_proj_\1", name)
    return replaced(name, _OPENCLIP)
