"""The names of a model's layers in LoRA files.

Two families of names are in use: diffusers' and PEFT's, with the layer's dotted path, and those of
kohya's sd-scripts, with the path flattened by underscores, of the UNet either diffusers' path or
that of the original implementation (`input_blocks`). A name is looked up among those that the
model's own layers would have; names are never parsed and guessed at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from batchgen.model.unet_names import original

COMPONENTS = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
"""What of SDXL an adapter can change, and what kohya's names for it begin with."""


def spellings(component: str, module: str, modules: Collection[str]) -> Iterator[str]:
    """Yield what files call a layer.

    Args:
        component: A key of `COMPONENTS`.
        module: The layer's path in it, such as `mid_block.attentions.0.proj_in`.
        modules: The paths of all its layers.
    """
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
        yield f"{COMPONENTS[component]}{_original(module, modules).replace('.', '_')}"


def _original(module: str, modules: Collection[str]) -> str:
    """Return what the original implementation of SDXL's UNet calls a layer of one."""
    resnets = {name.split(".")[3] for name in modules if name.startswith("down_blocks.0.resnets.")}

    def has_attention(level: int) -> bool:
        return any(name.startswith(f"up_blocks.{level}.attentions.") for name in modules)

    return original(module, len(resnets), has_attention)
