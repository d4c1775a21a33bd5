"""Where tensors stand in safetensors files, and under which names; reads headers, not tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchgen.errors import ModelError
from batchgen.model.model_file import AGAIN, refuse_pointer

DTYPES = ("F16", "F32")
"""What numpy, and so mindone, can read; safetensors has no bfloat16 without PyTorch."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of a model, as it stands in a file."""

    file: Path
    key: str
    """Its name in the file."""
    shape: tuple[int, ...]
    """In the model; what is stored may have to be cut or turned to get there."""
    dtype: str
    """As safetensors writes it: F16, F32, I64, ..."""
    third: int | None = None
    """Which third of the rows it is, where queries, keys and values are stored as one."""
    is_transposed: bool = False

    def read(self, opened: Any) -> NDArray[np.floating[Any]]:
        """Read the tensor from its file, opened by `safetensors.safe_open` for numpy."""
        if self.third is None:
            array = opened.get_tensor(self.key)
        else:
            n = self.shape[0]
            array = opened.get_slice(self.key)[self.third * n : (self.third + 1) * n]
        if self.is_transposed:
            array = np.ascontiguousarray(array.T)
        shaped: NDArray[np.floating[Any]] = array.reshape(self.shape)
        return shaped


def stored(file: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file by their names in it.

    Raises `ModelError` unless the file is exactly as long as its header says.
    """
    from safetensors import SafetensorError, safe_open

    refuse_pointer(file)
    found = {}
    try:
        with safe_open(str(file), framework="np") as opened:
            for key in opened.keys():  # noqa: SIM118 (it is no dict)
                tensor = opened.get_slice(key)
                found[key] = Stored(file, key, tuple(tensor.get_shape()), tensor.get_dtype())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is cut off or damaged: {error}. {AGAIN}") from error
    return found
