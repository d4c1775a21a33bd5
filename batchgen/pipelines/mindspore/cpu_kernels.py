"""Stand-ins for the `mint` operators that MindSpore 2.7 has no CPU kernel for.

MindOne is written for NPUs: its layers call `mindspore.mint`, and on a CPU many of those end in
`The kernel GeluExt unregistered`. Each stand-in computes the same in float32 from operators that
do have a CPU kernel, so that the demo model and the tests run without an NPU. Layers keep their
classes, only `construct` is exchanged: checks by `isinstance` and parameter names stay as they
are. Never imported on an NPU.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import mint, ops

FUNCTIONAL = ("gelu", "conv2d", "layer_norm", "pad", "embedding")
"""What of `mint.nn.functional` is exchanged."""

PLAIN = (
    "zeros_like", "ones_like", "full", "arange", "linspace", "stack", "argmax", "index_select",
    "cumsum", "exp", "expm1", "log", "log1p",
)  # fmt: skip
"""What of `mint` is exchanged; the last four for the sake of their digits, see `exp`."""


@functools.cache
def install() -> None:
    """Exchange the operators, once in a process; before mindone is imported, which copies some."""
    for name in FUNCTIONAL:
        setattr(mint.nn.functional, name, globals()[name])
    for name in PLAIN:
        setattr(mint, name, globals()[name])
    ms.Tensor.exp, ms.Tensor.log = exp, log
    mint.nn.GELU.construct = lambda self, x: gelu(x, self.approximate)
    mint.nn.Embedding.construct = lambda self, x: embedding(x, self.weight)
    mint.nn.LayerNorm.construct = lambda self, x: layer_norm(
        x, self.normalized_shape, self.weight, self.bias, self.eps
    )
    mint.nn.Conv2d.construct = lambda self, x: conv2d(
        x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
    )


def gelu(x: Any, approximate: str = "none") -> Any:
    """`mint.nn.functional.gelu`, exact or by tanh."""
    return ops.gelu(x, approximate=approximate)


def conv2d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, *rest: Any
) -> Any:
    """`mint.nn.functional.conv2d`; `rest` is dilation and groups."""
    dilation, groups = (*rest, 1, 1)[:2] if len(rest) < 2 else rest
    mode = padding if isinstance(padding, str) else "pad"
    amount = 0 if isinstance(padding, str) else padding
    return ops.conv2d(x, weight, bias, stride, mode, amount, dilation, groups)


@functools.cache
def _normalisation(first_axis: int, eps: float) -> Any:
    return ops.LayerNorm(begin_norm_axis=first_axis, begin_params_axis=first_axis, epsilon=eps)


def layer_norm(
    x: Any, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None,
    eps: float = 1e-5,
) -> Any:  # fmt: skip
    """`mint.nn.functional.layer_norm` over the last axes."""
    shape = tuple(normalized_shape)
    weight = ops.ones(shape, x.dtype) if weight is None else weight
    bias = ops.zeros(shape, x.dtype) if bias is None else bias
    return _normalisation(x.ndim - len(shape), eps)(x, weight, bias)[0]


def embedding(x: Any, weight: Any, *_: Any) -> Any:
    """`mint.nn.functional.embedding` without its options, which only training uses."""
    return ops.gather(weight, x, 0)


def pad(x: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Any:
    """`mint.nn.functional.pad`."""
    return ops.pad(x, tuple(pad), mode, 0.0 if value is None and mode == "constant" else value)


def zeros_like(x: Any, *, dtype: Any = None) -> Any:
    """`mint.zeros_like`."""
    return ops.zeros(x.shape, dtype or x.dtype)


def ones_like(x: Any, *, dtype: Any = None) -> Any:
    """`mint.ones_like`."""
    return ops.ones(x.shape, dtype or x.dtype)


def full(size: Any, fill_value: Any, *, dtype: Any = None) -> Any:
    """`mint.full`: int64 for a whole number, else float32, unless asked otherwise."""
    dtype = dtype or (ms.int64 if isinstance(fill_value, int) else ms.float32)
    return ops.full(tuple(size), fill_value, dtype=dtype)


def arange(start: Any = 0, end: Any = None, step: Any = 1, *, dtype: Any = None) -> Any:
    """`mint.arange`: int64 for whole numbers, else float32, unless asked otherwise."""
    start, end = (0, start) if end is None else (start, end)
    if dtype is None:
        whole = all(isinstance(bound, int) for bound in (start, end, step))
        dtype = ms.int64 if whole else ms.float32
    count = max(0, math.ceil((end - start) / step))
    return ms.tensor(start + step * np.arange(count), dtype=dtype)


def linspace(start: float, end: float, steps: int, *, dtype: Any = None) -> Any:
    """`mint.linspace`, drawn in float64 and rounded once."""
    return ms.tensor(np.linspace(start, end, int(steps)), dtype=dtype or ms.float32)


def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """`mint.stack`."""
    return ops.stack(list(tensors), axis=dim)


def argmax(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """`mint.argmax`."""
    return ops.argmax(x, dim, keepdim)


def index_select(x: Any, dim: int, index: Any) -> Any:
    """`mint.index_select`."""
    return ops.gather(x, index, dim)


def cumsum(x: Any, dim: int, dtype: Any = None) -> Any:
    """`mint.cumsum`."""
    return ops.cumsum(x, dim, dtype)


def exp(x: Any) -> Any:
    """`mint.exp`, computed in float64: the CPU kernel is off by 5e-6 of the value in float32.

    The embedding of the timestep multiplies that by up to a thousand: with it, 20 steps of the
    demo model agreed with PyTorch's to 101 dB, without it to 124. `log` and its kin are worse still
    near 1. Nor do those kernels repeat: the first calls try how many threads are fastest, and the
    ends of each thread's share are rounded otherwise, which showed in `kdpm2_ancestral`.
    """
    return _in_float64(ops.exp, x)


def expm1(x: Any) -> Any:
    """`mint.expm1`, as `exp`."""
    return _in_float64(ops.expm1, x)


def log(x: Any) -> Any:
    """`mint.log`, as `exp`."""
    return _in_float64(ops.log, x)


def log1p(x: Any) -> Any:
    """`mint.log1p`, as `exp`."""
    return _in_float64(ops.log1p, x)


def _in_float64(operator: Any, x: Any) -> Any:
    dtype = x.dtype if x.is_floating_point() else ms.float32
    return operator(x.astype(ms.float64)).astype(dtype)
