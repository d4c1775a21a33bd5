"""Names and shapes of SDXL's tensors, derived from the config.json of each component.

Pure, and without mindspore, so that files can be checked before any model is built. The names
are those of diffusers 0.35 (`UNet2DConditionModel`, `AutoencoderKL`) and transformers 4.57 (CLIP's
text models), which mindone 0.5 reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batchgen.model.unet_depths import depths_down, depths_up, per_block, refuse_layers

Tensors = Iterator[tuple[str, tuple[int, ...]]]
"""Names of tensors with their shapes, in no order that means anything."""

_UNET: dict[str, Any] = {
    "in_channels": 4, "out_channels": 4, "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2, "transformer_layers_per_block": 1,
    "reverse_transformer_layers_per_block": None, "mid_block_type": "UNetMidBlock2DCrossAttn",
    "cross_attention_dim": 1280, "use_linear_projection": False, "time_cond_proj_dim": None,
    "addition_embed_type": None,
}  # fmt: skip
"""diffusers' defaults."""

_UNET_FIXED: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "only_cross_attention": False, "dual_cross_attention": False, "encoder_hid_dim": None,
    "encoder_hid_dim_type": None, "num_attention_heads": None, "class_embed_type": None,
    "num_class_embeds": None, "resnet_time_scale_shift": "default",
    "time_embedding_type": "positional", "time_embedding_dim": None, "conv_in_kernel": 3,
    "conv_out_kernel": 3, "attention_type": "default", "class_embeddings_concat": False,
    "mid_block_only_cross_attention": None, "cross_attention_norm": None,
}  # fmt: skip
"""What every SDXL has; other values would change the tensors."""

_VAE: dict[str, Any] = {
    "in_channels": 3, "out_channels": 3, "block_out_channels": (64,), "layers_per_block": 1,
    "latent_channels": 4, "use_quant_conv": True, "use_post_quant_conv": True,
    "mid_block_add_attention": True,
}  # fmt: skip

_TEXT: dict[str, Any] = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "projection_dim": 512,
    "num_hidden_layers": 12, "max_position_embeddings": 77,
}  # fmt: skip
"""transformers' defaults."""

_OTHER_NAMES = (
    (re.compile(r"\.(gamma|embedding_table)$"), ".weight"),
    (re.compile(r"\.beta$"), ".bias"),
    (re.compile(r"(attentions\.\d+)\.query\."), r"\1.to_q."),
    (re.compile(r"(attentions\.\d+)\.key\."), r"\1.to_k."),
    (re.compile(r"(attentions\.\d+)\.value\."), r"\1.to_v."),
    (re.compile(r"(attentions\.\d+)\.proj_attn\."), r"\1.to_out.0."),
)
"""MindSpore's own names, and those of diffusers before 0.15."""


def canonical(name: str) -> str:
    """The name that diffusers gives a tensor today, from any that a file may have it under."""
    for pattern, replacement in _OTHER_NAMES:
        name = pattern.sub(replacement, name)
    return name


def tensors(component: str, config: Mapping[str, Any]) -> Tensors:
    """Yield the tensors of `unet`, `vae`, `text_encoder` or `text_encoder_2`.

    Raises `ValueError` for a config of something else than SDXL's; a `TypeError`, `KeyError` or
    `IndexError` for one that makes no sense.
    """
    if component == "unet":
        return _unet(_UNET | dict(config))
    if component == "vae":
        return _vae(_VAE | dict(config))
    return _text_encoder(_TEXT | dict(config), is_projected=component == "text_encoder_2")


def _conv(name: str, n_out: int, n_in: int) -> Tensors:
    yield f"{name}.weight", (n_out, n_in, 3, 3)
    yield f"{name}.bias", (n_out,)


def _conv_1x1(name: str, n_out: int, n_in: int) -> Tensors:
    yield f"{name}.weight", (n_out, n_in, 1, 1)
    yield f"{name}.bias", (n_out,)


def _linear(name: str, n_out: int, n_in: int, *, has_bias: bool = True) -> Tensors:
    yield f"{name}.weight", (n_out, n_in)
    if has_bias:
        yield f"{name}.bias", (n_out,)


def _norm(name: str, size: int) -> Tensors:
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)


def _attention(name: str, size: int, n_in: int, *, has_bias: bool = False) -> Tensors:
    yield from _linear(f"{name}.to_q", size, size, has_bias=has_bias)
    yield from _linear(f"{name}.to_k", size, n_in, has_bias=has_bias)
    yield from _linear(f"{name}.to_v", size, n_in, has_bias=has_bias)
    yield from _linear(f"{name}.to_out.0", size, size)


def _resnets(name: str, inputs: Sequence[int], size: int, time_size: int = 0) -> Tensors:
    """One residual layer for each number of input channels; without time inside the VAE."""
    for j, n_in in enumerate(inputs):
        resnet = f"{name}.resnets.{j}"
        yield from _norm(f"{resnet}.norm1", n_in)
        yield from _conv(f"{resnet}.conv1", size, n_in)
        if time_size:
            yield from _linear(f"{resnet}.time_emb_proj", size, time_size)
        yield from _norm(f"{resnet}.norm2", size)
        yield from _conv(f"{resnet}.conv2", size, size)
        if n_in != size:
            yield from _conv_1x1(f"{resnet}.conv_shortcut", size, n_in)


def _unet(config: Mapping[str, Any]) -> Tensors:
    _refuse_other_unets(config)
    sizes = config["block_out_channels"]
    first, last, time_size = sizes[0], sizes[-1], 4 * sizes[0]
    yield from _conv("conv_in", first, config["in_channels"])
    yield from _linear("time_embedding.linear_1", time_size, first)
    yield from _linear("time_embedding.linear_2", time_size, time_size)
    if (n_guidance := config["time_cond_proj_dim"]) is not None:
        yield from _linear("time_embedding.cond_proj", first, n_guidance, has_bias=False)
    n_added = config["projection_class_embeddings_input_dim"]
    yield from _linear("add_embedding.linear_1", time_size, n_added)
    yield from _linear("add_embedding.linear_2", time_size, time_size)
    yield from _down_blocks(config)
    yield from _mid_block(config, last, time_size)
    yield from _up_blocks(config)
    yield from _norm("conv_norm_out", first)
    yield from _conv("conv_out", config["out_channels"], first)


def _mid_block(config: Mapping[str, Any], size: int, time_size: int) -> Tensors:
    """SDXL's has a transformer between two residual layers; SSD-1B's is one such layer."""
    if config["mid_block_type"] == "UNetMidBlock2D":
        yield from _resnets("mid_block", [size], size, time_size)
        return
    yield from _resnets("mid_block", [size, size], size, time_size)
    depth = depths_down(config)[-1][0]
    yield from _transformer("mid_block.attentions.0", size, depth, config)


def _down_blocks(config: Mapping[str, Any]) -> Tensors:
    sizes, time_size = config["block_out_channels"], 4 * config["block_out_channels"][0]
    depths, n_layers = depths_down(config), per_block(config, "layers_per_block")
    for i, size in enumerate(sizes):
        block, inputs = f"down_blocks.{i}", [sizes[max(i - 1, 0)], *[size] * (n_layers[i] - 1)]
        yield from _resnets(block, inputs, size, time_size)
        if config["down_block_types"][i].startswith("CrossAttn"):
            for j in range(n_layers[i]):
                yield from _transformer(f"{block}.attentions.{j}", size, depths[i][j], config)
        if i < len(sizes) - 1:
            yield from _conv(f"{block}.downsamplers.0.conv", size, size)


def _up_blocks(config: Mapping[str, Any]) -> Tensors:
    sizes, time_size = config["block_out_channels"], 4 * config["block_out_channels"][0]
    depths = depths_up(config)
    n_layers = per_block(config, "layers_per_block")[::-1]
    skips = _skips(sizes, n_layers[::-1])
    before = sizes[-1]
    for i, size in enumerate(sizes[::-1]):
        block, n_resnets = f"up_blocks.{i}", n_layers[i] + 1
        inputs = [n + skips.pop() for n in (before, *[size] * (n_resnets - 1))]
        yield from _resnets(block, inputs, size, time_size)
        if config["up_block_types"][i].startswith("CrossAttn"):
            for j in range(n_resnets):
                yield from _transformer(f"{block}.attentions.{j}", size, depths[i][j], config)
        if i < len(sizes) - 1:
            yield from _conv(f"{block}.upsamplers.0.conv", size, size)
        before = size


def _skips(sizes: Sequence[int], n_layers: Sequence[int]) -> list[int]:
    """Channels of what the way down leaves to the way up, in the order in which it is left."""
    skips = [sizes[0]]
    for i, size in enumerate(sizes):
        skips += [size] * (n_layers[i] + (i < len(sizes) - 1))
    return skips


def _transformer(name: str, size: int, depth: int, config: Mapping[str, Any]) -> Tensors:
    """Self-attention, cross-attention and a feed-forward gated by GELU, `depth` times."""
    project = _linear if config["use_linear_projection"] else _conv_1x1
    yield from _norm(f"{name}.norm", size)
    yield from project(f"{name}.proj_in", size, size)
    for k in range(depth):
        block = f"{name}.transformer_blocks.{k}"
        for norm in ("norm1", "norm2", "norm3"):
            yield from _norm(f"{block}.{norm}", size)
        yield from _attention(f"{block}.attn1", size, size)
        yield from _attention(f"{block}.attn2", size, config["cross_attention_dim"])
        yield from _linear(f"{block}.ff.net.0.proj", 8 * size, size)
        yield from _linear(f"{block}.ff.net.2", size, 4 * size)
    yield from project(f"{name}.proj_out", size, size)


def _vae(config: Mapping[str, Any]) -> Tensors:
    sizes, n_latent = config["block_out_channels"], config["latent_channels"]
    n_layers = config["layers_per_block"]
    refuse_layers("layers_per_block", n_layers)
    _refuse_other_blocks(config, {"DownEncoderBlock2D"}, {"UpDecoderBlock2D"})
    yield from _conv("encoder.conv_in", sizes[0], config["in_channels"])
    yield from _vae_blocks("encoder.down_blocks", "downsamplers", sizes, n_layers)
    yield from _vae_ends("encoder", sizes[-1], sizes[-1], 2 * n_latent, config)
    yield from _conv("decoder.conv_in", sizes[-1], n_latent)
    yield from _vae_blocks("decoder.up_blocks", "upsamplers", sizes[::-1], n_layers + 1)
    yield from _vae_ends("decoder", sizes[-1], sizes[0], config["out_channels"], config)
    if config["use_quant_conv"]:
        yield from _conv_1x1("quant_conv", 2 * n_latent, 2 * n_latent)
    if config["use_post_quant_conv"]:
        yield from _conv_1x1("post_quant_conv", n_latent, n_latent)


def _vae_blocks(name: str, scaler: str, sizes: Sequence[int], n_resnets: int) -> Tensors:
    for i, size in enumerate(sizes):
        inputs = [sizes[max(i - 1, 0)], *[size] * (n_resnets - 1)]
        yield from _resnets(f"{name}.{i}", inputs, size)
        if i < len(sizes) - 1:
            yield from _conv(f"{name}.{i}.{scaler}.0.conv", size, size)


def _vae_ends(half: str, middle: int, outer: int, n_out: int, config: Mapping[str, Any]) -> Tensors:
    """The middle block and the last layers of the VAE's encoder or decoder."""
    yield from _resnets(f"{half}.mid_block", [middle, middle], middle)
    if config["mid_block_add_attention"]:
        yield from _norm(f"{half}.mid_block.attentions.0.group_norm", middle)
        yield from _attention(f"{half}.mid_block.attentions.0", middle, middle, has_bias=True)
    yield from _norm(f"{half}.conv_norm_out", outer)
    yield from _conv(f"{half}.conv_out", n_out, outer)


def _text_encoder(config: Mapping[str, Any], *, is_projected: bool) -> Tensors:
    size, inner = config["hidden_size"], config["intermediate_size"]
    embeddings, n_places = "text_model.embeddings", config["max_position_embeddings"]
    yield f"{embeddings}.token_embedding.weight", (config["vocab_size"], size)
    yield f"{embeddings}.position_embedding.weight", (n_places, size)
    for i in range(config["num_hidden_layers"]):
        layer = f"text_model.encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _linear(f"{layer}.self_attn.{part}", size, size)
        yield from _norm(f"{layer}.layer_norm1", size)
        yield from _norm(f"{layer}.layer_norm2", size)
        yield from _linear(f"{layer}.mlp.fc1", inner, size)
        yield from _linear(f"{layer}.mlp.fc2", size, inner)
    yield from _norm("text_model.final_layer_norm", size)
    if is_projected:
        yield from _linear("text_projection", config["projection_dim"], size, has_bias=False)


def _refuse_other_unets(config: Mapping[str, Any]) -> None:
    for key, value in _UNET_FIXED.items():
        if config.get(key, value) != value:
            raise ValueError(f"{key}={config[key]}, where SDXL has {value}")
    if config["mid_block_type"] not in ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D"):
        raise ValueError(f"mid_block_type={config['mid_block_type']} is not SDXL's")
    _refuse_other_blocks(
        config, {"DownBlock2D", "CrossAttnDownBlock2D"}, {"UpBlock2D", "CrossAttnUpBlock2D"}
    )


def _refuse_other_blocks(config: Mapping[str, Any], down: set[str], up: set[str]) -> None:
    for key, known in (("down_block_types", down), ("up_block_types", up)):
        unknown = set(config[key]) - known
        if unknown or len(config[key]) != len(config["block_out_channels"]):
            raise ValueError(f"{key}={config[key]} is not SDXL's, or not one for each block")
