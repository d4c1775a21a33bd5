"""How many layers each block of a UNet has, and how deep the transformers in them are.

The settings of diffusers' `UNet2DConditionModel`: one number for all blocks, or one for each, or,
in models with fewer transformers than SDXL, such as SSD-1B, one for each layer of a block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_LAYERS = 100
"""Layers of a block; SDXL's have two or three."""


def per_block(config: Mapping[str, Any], key: str) -> list[int]:
    """A setting that may be one number for all blocks, or one for each."""
    value, n_blocks = config[key], len(config["block_out_channels"])
    numbers = [value] * n_blocks if isinstance(value, int) else list(value)
    if len(numbers) != n_blocks or not all(isinstance(n, int) for n in numbers):
        raise ValueError(f"{key}={value} is not one number for each of {n_blocks} blocks")
    for number in numbers:
        refuse_layers(key, number)
    return numbers


def n_skip_connections(config: Mapping[str, Any]) -> int:
    """How many features are set aside on the way down: the first, a layer's, a halving's each."""
    n_layers = per_block(config, "layers_per_block")
    return 1 + sum(n_layers) + len(n_layers) - 1


def refuse_layers(key: str, number: int) -> None:
    """Raise `ValueError` for a number of layers that no block has: it would fill the memory."""
    if number not in range(1, MOST_LAYERS + 1):
        raise ValueError(f"{key}={number} is not from 1 to {MOST_LAYERS}")


def depths_down(config: Mapping[str, Any]) -> list[list[int]]:
    """How deep the transformers on the way down are, by block and layer."""
    key, n_layers = "transformer_layers_per_block", per_block(config, "layers_per_block")
    value = config[key]
    return _by_layer(key, [value] * len(n_layers) if isinstance(value, int) else value, n_layers)


def depths_up(config: Mapping[str, Any]) -> list[list[int]]:
    """How deep those on the way up are: as on the way down, unless the config says otherwise."""
    key = "reverse_transformer_layers_per_block"
    n_layers = [n + 1 for n in per_block(config, "layers_per_block")[::-1]]
    if config[key] is not None:
        return _by_layer(key, config[key], n_layers)
    key, value = key.removeprefix("reverse_"), config[key.removeprefix("reverse_")]
    values = [value] * len(n_layers) if isinstance(value, int) else list(value)[::-1]
    if not all(isinstance(depth, int) for depth in values):
        raise ValueError(f"{key}={value} tells layers apart, and reverse_{key} is not given")
    return _by_layer(key, values, n_layers)


def _by_layer(key: str, values: Sequence[Any], n_layers: Sequence[int]) -> list[list[int]]:
    """A setting that has one number for each block, or for each layer of one; more are not read."""
    numbers = [
        [value] * n if isinstance(value, int) else list(value)
        for value, n in zip(values, n_layers, strict=False)
    ]
    has_all = all(len(one) >= n for one, n in zip(numbers, n_layers, strict=False))
    are_whole = all(isinstance(n, int) for one in numbers for n in one)
    if not (len(values) == len(n_layers) and has_all and are_whole):
        raise ValueError(f"{key}={values} is not a number for each block, or each of its layers")
    return numbers
