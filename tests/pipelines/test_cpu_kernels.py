"""Each stand-in for a missing CPU kernel computes what numpy computes in float64."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.pipelines.mindspore.machine import Machine

Floats = NDArray[np.float64]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 6, 8, 8)).astype(np.float32)
ROWS = (3 * RNG.standard_normal((5, 16))).astype(np.float32)


@pytest.fixture(scope="module")
def ms() -> Any:
    """MindSpore on the CPU, with the stand-ins installed."""
    return Machine(DeviceConfig(), DeviceKind.cpu, one_core=True).ms


def convolved(x: Floats, weight: Floats, stride: int, padding: int, groups: int) -> Floats:
    """A convolution by its definition."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    size = weight.shape[-1]
    view: Any = np.lib.stride_tricks.sliding_window_view
    windows = view(x, (size, size), (2, 3))
    windows = windows[:, :, ::stride, ::stride]
    parts = zip(np.split(windows, groups, 1), np.split(weight, groups, 0), strict=True)
    return np.concatenate([np.einsum("bchwij,ocij->bohw", a, w) for a, w in parts], 1)


def normalised(x: Floats) -> Floats:
    """Layer normalisation over the last axis by its definition."""
    centred = x - x.mean(-1, keepdims=True)
    scaled: Floats = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return scaled


@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 0, 1), (1, 1, 1), (2, 1, 3)])
def test_convolution(ms: Any, stride: int, padding: int, groups: int) -> None:
    """The function and the layer, with their bias."""
    weight = RNG.standard_normal((9, 6 // groups, 3, 3)).astype(np.float32)
    bias = RNG.standard_normal(9).astype(np.float32)
    layer = ms.mint.nn.Conv2d(6, 9, 3, stride=stride, padding=padding, groups=groups)
    layer.weight.set_data(ms.tensor(weight))
    layer.bias.set_data(ms.tensor(bias))
    wanted = convolved(X.astype(float), weight.astype(float), stride, padding, groups)
    wanted += bias.astype(float)[:, None, None]
    by_function = ms.mint.nn.functional.conv2d(
        ms.tensor(X), ms.tensor(weight), ms.tensor(bias), stride, padding, 1, groups
    )
    for got in (layer(ms.tensor(X)), by_function):
        np.testing.assert_allclose(got.asnumpy(), wanted, atol=5e-5)


def test_gelu(ms: Any) -> None:
    """Exact, by the error function, and the approximation by tanh."""
    x = ROWS.astype(float)
    exact = 0.5 * x * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))
    np.testing.assert_allclose(ms.mint.nn.GELU()(ms.tensor(ROWS)).asnumpy(), exact, atol=1e-6)
    by_tanh = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    got = ms.mint.nn.functional.gelu(ms.tensor(ROWS), approximate="tanh")
    np.testing.assert_allclose(got.asnumpy(), by_tanh, atol=1e-5)


def test_layer_norm(ms: Any) -> None:
    """With weight and bias in the layer, without them in the function."""
    layer = ms.mint.nn.LayerNorm(16)
    layer.weight.set_data(ms.tensor(np.full(16, 2.0, np.float32)))
    layer.bias.set_data(ms.tensor(np.full(16, 1.0, np.float32)))
    wanted = normalised(ROWS.astype(float))
    got = layer(ms.tensor(ROWS)).asnumpy()
    np.testing.assert_allclose(got, 2 * wanted + 1, atol=2e-6)
    plain = ms.mint.nn.functional.layer_norm(ms.tensor(ROWS), (16,)).asnumpy()
    np.testing.assert_allclose(plain, wanted, atol=1e-6)


def test_embedding(ms: Any) -> None:
    """Rows of the table, in the shape of the indices."""
    layer = ms.mint.nn.Embedding(5, 16)
    layer.weight.set_data(ms.tensor(ROWS))
    indices = np.array([[4, 0], [2, 2]])
    np.testing.assert_array_equal(layer(ms.tensor(indices)).asnumpy(), ROWS[indices])


def test_pad(ms: Any) -> None:
    """The last axis first, as PyTorch counts."""
    got = ms.mint.nn.functional.pad(ms.tensor(X), (0, 1, 2, 0), value=7.0).asnumpy()
    wanted = np.pad(X, ((0, 0), (0, 0), (2, 0), (0, 1)), constant_values=7.0)
    np.testing.assert_array_equal(got, wanted)
    reflected = ms.mint.nn.functional.pad(ms.tensor(X), (1, 1, 2, 2), mode="reflect")
    wanted = np.pad(X, ((0, 0), (0, 0), (2, 2), (1, 1)), mode="reflect")
    np.testing.assert_array_equal(reflected.asnumpy(), wanted)


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p"])
def test_exponentials_keep_their_digits(ms: Any, name: str) -> None:
    """To float32's last bit, where MindSpore's own kernels lose up to four decimals."""
    x = np.linspace(0.001, 9, 999, dtype=np.float32)
    got = getattr(ms.mint, name)(ms.tensor(x)).asnumpy()
    np.testing.assert_allclose(got, getattr(np, name)(x.astype(float)), rtol=7e-8)


PLAIN: list[tuple[Callable[[Any], Any], Any]] = [
    (lambda ms: ms.mint.zeros_like(ms.tensor(ROWS)), np.zeros_like(ROWS)),
    (lambda ms: ms.mint.ones_like(ms.tensor(ROWS)), np.ones_like(ROWS)),
    (lambda ms: ms.mint.full((2, 3), 0.5), np.full((2, 3), 0.5, np.float32)),
    (lambda ms: ms.mint.arange(5), np.arange(5)),
    (lambda ms: ms.mint.arange(2, 9, 3), np.arange(2, 9, 3)),
    (lambda ms: ms.mint.arange(0.0, 1.0, 0.25), np.arange(0, 1, 0.25, np.float32)),
    (lambda ms: ms.mint.arange(3, dtype=ms.float32), np.arange(3, dtype=np.float32)),
    (lambda ms: ms.mint.linspace(0, 999, 7), np.linspace(0, 999, 7).astype(np.float32)),
    (lambda ms: ms.mint.stack([ms.tensor(ROWS)] * 2, dim=1), np.stack([ROWS] * 2, 1)),
    (lambda ms: ms.mint.argmax(ms.tensor(ROWS), dim=-1), ROWS.argmax(-1)),
    (lambda ms: ms.mint.argmax(ms.tensor(ROWS)), ROWS.argmax()),
    (lambda ms: ms.mint.index_select(ms.tensor(ROWS), 1, ms.tensor([3, 0])), ROWS[:, [3, 0]]),
    (lambda ms: ms.mint.cumsum(ms.tensor([1.0, 2.0, 4.0]), 0), np.array([1, 3, 7], np.float32)),
]


@pytest.mark.parametrize(("made", "wanted"), PLAIN, ids=range(len(PLAIN)))
def test_plain_operators(ms: Any, made: Callable[[Any], Any], wanted: Any) -> None:
    """Equal to numpy's, type included."""
    got = made(ms).asnumpy()
    np.testing.assert_array_equal(got, wanted)
    assert got.dtype == wanted.dtype


def test_layers_keep_their_classes(ms: Any) -> None:
    """Checks by isinstance and names of parameters are mindone's own business still."""
    from mindspore.nn import EmbeddingExt, LayerNormExt

    assert isinstance(ms.mint.nn.LayerNorm(4), LayerNormExt)
    assert isinstance(ms.mint.nn.Embedding(2, 4), EmbeddingExt)
    assert [name for name, _ in ms.mint.nn.Conv2d(1, 1, 1).parameters_and_names()] == [
        "weight",
        "bias",
    ]
