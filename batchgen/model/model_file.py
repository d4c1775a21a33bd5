"""One file of a model: whether it is there and can be read, and the JSON in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchgen.errors import ModelError

AGAIN = "Fetch it again with `batchgen download` and the settings of this job."

_LFS = b"version https://git-lfs"


def refuse_pointer(file: Path) -> None:
    """Raise `ModelError` if git-lfs left a text in place of a file, or there is no file to read."""
    with file_errors(file), file.open("rb") as stream:
        is_pointer = stream.read(len(_LFS)) == _LFS
    if is_pointer:
        raise ModelError(
            f"{file} is a pointer of git-lfs, not the file itself. Run `git lfs pull` in its "
            "folder, or fetch the model with `batchgen download` and the settings of this job."
        )


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the body into a `ModelError`: the file is missing, or cannot be read."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise missing(path) from error
    except OSError as error:
        raise ModelError(
            f"{error.filename or path} cannot be read: {error.strerror or error}. "
            "Correct the permissions, or repair the file system."
        ) from error


def missing(path: Path) -> ModelError:
    """The error for a part of a model that is not there."""
    return ModelError(f"{path} is missing; the model is incomplete. {AGAIN}")


def parsed(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raises `ModelError` where there is none."""
    refuse_pointer(file)
    try:
        with file_errors(file):
            value = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not JSON: {error}. {AGAIN}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file} holds no JSON object. {AGAIN}")
    return value
