"""What is in a LoRA file: which layers of which component it changes, and whether it fits a model.

A LoRA adds `weight * alpha / rank * up(down(x))` to what a layer makes of x. Only headers are read
here; imports no mindspore.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from batchgen.adapters.lora_names import spellings
from batchgen.errors import ModelError

Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Component -> path of a layer in it -> shape of its weight, (out, in) or (out, in, height, width).
"""

_LOOKED_UP = ("token_embedding.weight", "position_embedding.weight")
"""Tables of text encoders, which are not layers."""

_ENDS = {
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    "_lora.down.weight": "down",
    "_lora.up.weight": "up",
    ".alpha": "alpha",
}
_OTHER_KINDS = {
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "oft_": "OFT",
    "lora_mid": "LoCon with a core tensor",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
}
_DTYPES = ("F16", "BF16", "F32", "F64")
_METADATA = "lora_adapter_metadata"
"""Where diffusers writes PEFT's settings, as JSON, in the header."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What an adapter adds to one layer of a component."""

    component: str
    module: str
    """The layer's path in its component, such as `mid_block.attentions.0.proj_in`."""
    down: str
    """The tensor's name in the file, and so on."""
    up: str
    alpha_tensor: str | None
    """Where the file has a tensor for alpha; it counts before `alpha`."""
    alpha: float
    rank: int


class LoraFile:
    """The header of a LoRA file. Raises `ModelError` for a file that is none; names the tensor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts: dict[str, dict[str, str]] = {}
        try:
            with safe_open(path, "numpy") as file:
                views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                self._metadata = file.metadata() or {}
                self._shapes = {name: tuple(view.get_shape()) for name, view in views.items()}
                dtypes = {name: str(view.get_dtype()) for name, view in views.items()}
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{path} is not a complete safetensors file: {error}. Fetch it again; a pickle "
                "(.pt, .bin) is never opened."
            ) from error
        for name, dtype in dtypes.items():
            if dtype not in _DTYPES:
                raise self._refusal(f"tensor {name} is of type {dtype}, not {', '.join(_DTYPES)}")
            self._sort_in(name)
        for stem, parts in self._parts.items():
            if not {"down", "up"} <= set(parts):
                raise self._refusal(f"{stem} has {', '.join(parts)} only")
        if not self._parts:
            raise self._refusal("it has no tensors")

    def _sort_in(self, name: str) -> None:
        for mark, kind in _OTHER_KINDS.items():
            if mark in name:
                raise ModelError(
                    f"{self.path} is a {kind} (tensor {name}); MindOne applies plain LoRAs only."
                )
        end = max((end for end in _ENDS if name.endswith(end)), key=len, default="")
        if not end:
            raise self._refusal(f"tensor {name} has no such name")
        parts, kind = self._parts.setdefault(name.removesuffix(end), {}), _ENDS[end]
        if kind in parts:
            raise self._refusal(f"tensors {parts[kind]} and {name} are for the same")
        parts[kind] = name

    def _refusal(self, reason: str) -> ModelError:
        return ModelError(f"{self.path} is not a LoRA that batchgen knows: {reason}.")

    def layers(self, shapes: Shapes) -> list[Layer]:
        """Return what the file changes in a model whose layers have these shapes.

        Raises `ModelError` where a name means no layer of the model or a shape does not fit.
        """
        places = {
            spelt: (component, module)
            for component, modules in shapes.items()
            for module in modules
            for spelt in spellings(component, module, modules)
        }
        layers: dict[tuple[str, str], Layer] = {}
        for stem, parts in self._parts.items():
            down, up, alpha_tensor = parts["down"], parts["up"], parts.get("alpha")
            if stem not in places:
                raise self._misfit(f"tensor {down} is for a layer it does not have")
            place = component, module = places[stem]
            if place in layers:
                raise self._refusal(f"tensors {layers[place].down} and {down} are for the same")
            rank = self._rank(parts, shapes[component][module])
            alpha = self._alpha(component, module, rank)
            layers[place] = Layer(component, module, down, up, alpha_tensor, alpha, rank)
        return [*layers.values()]

    def _rank(self, parts: dict[str, str], shape: tuple[int, ...]) -> int:
        """Return the rank of a layer whose tensors fit a weight of this shape."""
        n_out, *within = shape
        rank = self._shapes[parts["down"]][0] if self._shapes[parts["down"]] else 0
        wanted = {"down": (rank, *within), "up": (n_out, rank, *(1 for _ in within[1:]))}
        for part, fitting in wanted.items():
            found = self._shapes[parts[part]]
            if found != fitting or not rank:
                raise self._misfit(f"tensor {parts[part]} is {found}, and {fitting} would fit")
        if "alpha" in parts and math.prod(self._shapes[parts["alpha"]]) != 1:
            found = self._shapes[parts["alpha"]]
            raise self._refusal(f"tensor {parts['alpha']} is {found}, not a number")
        return rank

    def _misfit(self, reason: str) -> ModelError:
        return ModelError(
            f"{self.path} does not fit this model: {reason}. A LoRA works with the architecture it "
            "was trained on; one for SD 1.5 or FLUX does not work with SDXL."
        )

    def _alpha(self, component: str, module: str, rank: int) -> float:
        """Return what PEFT's settings in the header come to; without them the rank itself."""
        if _METADATA not in self._metadata:
            return float(rank)
        settings = {
            key.removeprefix(f"{component}."): value
            for key, value in self._settings().items()
            if key.startswith(f"{component}.")
        }
        if settings.get("use_dora"):
            raise ModelError(f"{self.path} is a DoRA; MindOne applies plain LoRAs only.")
        try:
            specials = settings.get("alpha_pattern", {}).items()
            fitting = (own for text, own in specials if re.match(rf"(.*\.)?({text})$", module))
            alpha = float(next(fitting, settings.get("lora_alpha", rank)))
        except (AttributeError, TypeError, ValueError, re.error) as error:
            raise self._refusal(
                f"the alphas in its {_METADATA} are not numbers ({error})"
            ) from error
        return alpha * math.sqrt(rank) if settings.get("use_rslora") else alpha

    def _settings(self) -> dict[str, Any]:
        try:
            settings = json.loads(self._metadata[_METADATA])
        except (ValueError, RecursionError) as error:
            raise self._refusal(f"its {_METADATA} is not JSON") from error
        if not isinstance(settings, dict):
            raise self._refusal(f"its {_METADATA} is not a JSON object")
        return settings


def layers_of(tensors: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the layers an adapter can change, by their path: linear ones and convolutions."""
    return {
        name.removesuffix(".weight"): shape
        for name, shape in tensors.items()
        if name.endswith(".weight") and len(shape) in (2, 4) and not name.endswith(_LOOKED_UP)
    }
