"""Adapters on a loaded SDXL: each loaded at its first use, switched on and off, never fused.

Fusing writes into the base weights, and `unfuse_lora()` of MindOne 0.5.0 does not undo it. Unfused,
an adapter is a side branch of a layer, and the layer without it computes what it did before.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchgen.adapters.adapter import Adapter, layers, revision_of
from batchgen.adapters.lora_file import Layer, layers_of
from batchgen.adapters.lora_names import COMPONENTS
from batchgen.config import lora
from batchgen.errors import ModelError

_PREFIX = "adapter_"
"""In front of each name, for MindSpore keeps the cells by name in an object that has methods."""


class Adapters:
    """The adapters of one pipeline. `ms` is mindspore, `pipe` MindOne's own pipeline."""

    def __init__(self, pipe: Any, ms: Any, adapters: Mapping[str, Adapter]) -> None:
        """Check all files against the model. Raises `ModelError` for one that does not fit."""
        self._pipe = pipe
        self._ms = ms
        self._adapters = adapters
        shapes = {part: _shapes(getattr(pipe, part)) for part in COMPONENTS} if adapters else {}
        self._layers = {name: layers(adapter, shapes) for name, adapter in adapters.items()}
        self._loaded: set[str] = set()
        self._in_use: str | None = ""
        self.on_text = ""
        """The part that changes the text encoders; kept embeddings are valid for that part only."""

    def use(self, text: str) -> None:
        """Switch on the adapters of a canonical text, and all others off."""
        if text == self._in_use:
            return
        self._in_use = None  # what is on is not known until all of it is set
        weights = lora.weights_of(text)
        for name in weights:
            if name not in self._loaded:
                self._load(name)
        if weights:
            self._pipe.enable_lora()
            names = [f"{_PREFIX}{name}" for name in weights]
            self._pipe.set_adapters(names, [*weights.values()])
        else:
            self._pipe.disable_lora()
        self._in_use = text
        self.on_text = lora.written({n: w for n, w in weights.items() if self._changes_text(n)})

    def _changes_text(self, name: str) -> bool:
        return any(layer.component != "unet" for layer in self._layers[name])

    def _load(self, name: str) -> None:
        """Add an adapter's branches to the layers it changes; raises `ModelError`."""
        key, adapter = f"{_PREFIX}{name}", self._adapters[name]
        by_component: dict[str, list[Layer]] = defaultdict(list)
        for layer in self._layers[name]:
            by_component[layer.component].append(layer)
        tensors = tensors_of(adapter)
        try:
            for component, changed in by_component.items():
                self._inject(getattr(self._pipe, component), key, changed, tensors)
        except BaseException:
            self._pipe.delete_adapters(key)
            raise
        self._loaded.add(name)

    def _inject(
        self, model: Any, key: str, changed: list[Layer], tensors: dict[str, NDArray[Any]]
    ) -> None:
        from mindone.peft import LoraConfig, inject_adapter_in_model

        alike: dict[tuple[int, float], list[str]] = defaultdict(list)
        for layer in changed:
            alike[layer.rank, _alpha(layer, tensors)].append(layer.module)
        # By rank and alpha, for PEFT's patterns of them are regular expressions, tried one by one.
        for (rank, alpha), modules in alike.items():
            config = LoraConfig(
                r=rank, lora_alpha=alpha, target_modules=modules, init_lora_weights=False
            )
            with warnings.catch_warnings():
                # It warns of a second adapter, and several are what this class is for.
                warnings.simplefilter("ignore")
                inject_adapter_in_model(config, model, key)
        model._hf_peft_config_loaded = True  # noqa: SLF001 - as MindOne's own loaders do
        cells = {
            name: cell
            for name, cell in model.cells_and_names()
            if key in getattr(cell, "lora_A", ())
        }
        wrong = sorted(set(cells) ^ {layer.module for layer in changed})
        if wrong:
            raise ModelError(f"MindOne gave {key} to layers it is not for, or not to: {wrong[:3]}.")
        for layer in changed:
            cell = cells[layer.module]
            dtype = cell.get_base_layer().weight.dtype
            for part, name in ((cell.lora_A[key], layer.down), (cell.lora_B[key], layer.up)):
                part.weight.set_dtype(dtype)
                part.weight.set_data(self._ms.tensor(tensors[name], dtype))


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    return layers_of({name: tuple(p.shape) for name, p in model.parameters_and_names()})


def _alpha(layer: Layer, tensors: Mapping[str, NDArray[Any]]) -> float:
    return layer.alpha if layer.alpha_tensor is None else float(tensors[layer.alpha_tensor].item())


def tensors_of(adapter: Adapter) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file; those in bfloat16, which numpy does not know, as float32.

    Raises `ModelError` for a file that is not what it was when the job began.
    """
    from safetensors import deserialize

    try:
        content = adapter.path.read_bytes()
    except OSError as error:
        raise ModelError(f"adapters.{adapter.name}: {adapter.path} is gone: {error}.") from error
    if revision_of(content) != adapter.revision:
        raise ModelError(
            f"adapters.{adapter.name}: {adapter.path} was changed while the job ran. Start again."
        )
    views: list[tuple[str, dict[str, Any]]] = deserialize(content)  # type: ignore[no-untyped-call]
    return {name: _array(view) for name, view in views}


_NUMPY = {"F16": np.float16, "F32": np.float32, "F64": np.float64}


def _array(view: Mapping[str, Any]) -> NDArray[Any]:
    if view["dtype"] == "BF16":
        upper = np.frombuffer(view["data"], np.uint16).astype(np.uint32)
        return (upper << 16).view(np.float32).reshape(view["shape"])
    return np.frombuffer(view["data"], _NUMPY[view["dtype"]]).reshape(view["shape"])
