"""The names of a model's layers in LoRA files."""

from __future__ import annotations

import pytest

from batchgen.adapters.lora_names import spellings

ATTENTION = "transformer_blocks.0.attn1"
MODULES = [
    "conv_in",
    "time_embedding.linear_1",
    *(f"down_blocks.0.resnets.{n}.conv1" for n in range(2)),
    "down_blocks.0.downsamplers.0.conv",
    f"down_blocks.1.attentions.0.{ATTENTION}.to_q",
    f"down_blocks.1.attentions.0.{ATTENTION}.to_out.0",
    "mid_block.resnets.1.time_emb_proj",
    "mid_block.attentions.0.transformer_blocks.9.ff.net.2",
    "up_blocks.0.attentions.2.proj_in",
    "up_blocks.0.upsamplers.0.conv",
    "up_blocks.1.upsamplers.0.conv",
    "up_blocks.2.resnets.0.conv_shortcut",
]
"""Of a UNet with two residual blocks a level, as SDXL's."""


@pytest.mark.parametrize(
    ("module", "original"),
    [
        ("conv_in", "input_blocks_0_0"),
        ("time_embedding.linear_1", "time_embed_0"),
        ("down_blocks.0.resnets.1.conv1", "input_blocks_2_0_in_layers_2"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks_3_0_op"),
        (MODULES[5], "input_blocks_4_1_transformer_blocks_0_attn1_to_q"),
        ("mid_block.resnets.1.time_emb_proj", "middle_block_2_emb_layers_1"),
        (MODULES[8], "middle_block_1_transformer_blocks_9_ff_net_2"),
        ("up_blocks.0.attentions.2.proj_in", "output_blocks_2_1_proj_in"),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks_2_2_conv"),
        ("up_blocks.1.upsamplers.0.conv", "output_blocks_5_1_conv"),
        ("up_blocks.2.resnets.0.conv_shortcut", "output_blocks_6_0_skip_connection"),
    ],
)
def test_the_original_names_of_the_unet_are_known(module: str, original: str) -> None:
    """Kohya's scripts write these for SDXL, and most published LoRAs have them."""
    assert f"lora_unet_{original}" in spellings("unet", module, MODULES)


def test_diffusers_names_its_layers_in_several_ways() -> None:
    """By path, through the attention's processor as in 2023, and flattened."""
    module = f"down_blocks.1.attentions.0.{ATTENTION}.to_out.0"
    parent = module.removesuffix(".to_out.0")
    assert {
        f"unet.{module}",
        f"unet.{parent}.processor.to_out",
        f"lora_unet_{module.replace('.', '_')}",
    } <= set(spellings("unet", module, MODULES))


def test_no_two_layers_share_a_name() -> None:
    """What a name means is never a matter of order."""
    names = [name for module in MODULES for name in set(spellings("unet", module, MODULES))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("component", "starts"),
    [("text_encoder", {"lora_te1_", "lora_te_"}), ("text_encoder_2", {"lora_te2_"})],
)
def test_text_encoders_have_prefixes_of_their_own(component: str, starts: set[str]) -> None:
    """The second one is SDXL's own; `lora_te_` is the first, from models that have only one."""
    found = set(spellings(component, "text_projection", ["text_projection"]))
    assert found == {f"{component}.text_projection", *(f"{s}text_projection" for s in starts)}
