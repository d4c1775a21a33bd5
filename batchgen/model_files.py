"""The files of a model's folder: which of them are loaded, whether they are whole, their hashes.

The layout is diffusers'. Only safetensors are loaded: a pickle runs code when it is opened.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchgen.errors import ModelError

logger = logging.getLogger(__name__)

PIPELINE = "StableDiffusionXLPipeline"

WEIGHTS = {
    "text_encoder": "model",
    "text_encoder_2": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
"""The components that have weights, and what those files are called."""

OTHERS = {
    "scheduler": ("scheduler_config.json",),
    "tokenizer": ("vocab.json", "merges.txt", "tokenizer_config.json"),
    "tokenizer_2": ("vocab.json", "merges.txt", "tokenizer_config.json"),
}
"""The components that have none."""

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")

LFS = b"version https://git-lfs"

AGAIN = "Fetch it again: `batchgen download`."


def weight_patterns(variant: str | None) -> list[str]:
    """Patterns of fnmatch for the weight files of a variant, on paths inside the folder."""
    dotted = f".{variant}" if variant else ""
    return [
        f"{component}/{stem}{rest}"
        for component, stem in WEIGHTS.items()
        for rest in (
            f"{dotted}.safetensors",
            f"{dotted}-*.safetensors",
            f".safetensors.index{dotted}.json",
        )
    ]


def check(folder: Path, variant: str | None) -> None:
    """Raise `ModelError` unless the folder holds a whole SDXL that is safe to load.

    Reads headers and lengths, not the tensors: a second at most for a model of any size.
    """
    for file in loaded_files(folder, variant):
        if file.suffix == ".safetensors":
            _check_tensors(file)
        elif file.suffix == ".json":
            _parsed(file)
        elif not file.is_file():
            raise _missing(file)


def loaded_files(folder: Path, variant: str | None) -> list[Path]:
    """Every file a load of the folder reads and that shapes its images; looks for no more."""
    index = _parsed(folder / "model_index.json")
    if index.get("_class_name") != PIPELINE:
        raise ModelError(
            f"{folder} holds a {index.get('_class_name')}; batchgen runs {PIPELINE} only."
        )
    files = [folder / "model_index.json"]
    for component in (*WEIGHTS, *OTHERS):
        if not (folder / component).is_dir():
            raise _missing(folder / component)
        if component in WEIGHTS:
            files.append(folder / component / "config.json")
            files.extend(_weight_files(folder / component, WEIGHTS[component], variant))
        else:
            files.extend(folder / component / name for name in OTHERS[component])
    return files


def hashes(files: Sequence[Path], stamps: Path) -> list[str]:
    """SHA-256 of each file; those whose size, time and inode are as in `stamps` are not read.

    `stamps` is a JSON file of earlier answers, replaced in one step; a damaged one is made anew.
    """
    known = _stamps(stamps)
    answers, is_new = [], False
    for file in files:
        status = file.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
        key = str(file.resolve())
        if key not in known or known[key][:3] != stamp:
            logger.info("Hashing %s.", file)
            known[key] = [*stamp, _sha256(file)]
            is_new = True
        answers.append(str(known[key][3]))
    if is_new:
        _write(stamps, json.dumps(known))
    return answers


def _weight_files(component: Path, stem: str, variant: str | None) -> list[Path]:
    dotted = f".{variant}" if variant else ""
    single = component / f"{stem}{dotted}.safetensors"
    if single.is_file():
        return [single]
    index = component / f"{stem}.safetensors.index{dotted}.json"
    if index.is_file():
        shards = _parsed(index).get("weight_map")
        if not isinstance(shards, dict):
            raise ModelError(f"{index} names no shards: it has no weight_map. {AGAIN}")
        bad = next((name for name in shards.values() if not _is_shard(name)), "")
        if bad != "":
            raise ModelError(
                f"{index} names {bad!r}, which is no .safetensors file beside it. {AGAIN}"
            )
        return [index, *(component / name for name in sorted(set(shards.values())))]
    there = sorted(path.name for path in component.iterdir())
    tensors = [name for name in there if name.endswith(".safetensors")]
    pickles = [name for name in there if name.endswith(PICKLES)]
    if pickles and not tensors:
        raise ModelError(
            f"{component} holds pickled weights only ({', '.join(pickles)}); opening a pickle can "
            "run any code. Take the safetensors of this model: `batchgen download`."
        )
    if tensors:
        raise ModelError(
            f"{component} has no {single.name}; it has {', '.join(tensors)}. "
            "Set model.variant to the word between the dots, or to null where there is none."
        )
    raise _missing(single)


def _is_shard(name: object) -> bool:
    """Whether a weight_map may name this: tensors in the folder of the index."""
    is_tensors = isinstance(name, str) and name.endswith(".safetensors")
    return is_tensors and Path(str(name)).name == name


def _missing(path: Path) -> ModelError:
    return ModelError(f"{path} is missing; the model is incomplete. {AGAIN}")


def _parsed(file: Path) -> dict[str, Any]:
    try:
        text = file.read_bytes()
    except OSError as error:
        raise _missing(file) from error
    if text.startswith(LFS):
        raise _pointer(file)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is no JSON: {error}. {AGAIN}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file} holds no JSON object. {AGAIN}")
    return value


def _pointer(file: Path) -> ModelError:
    return ModelError(
        f"{file} is a pointer of git-lfs, not the file itself. Run `git lfs pull` in its folder, "
        "or fetch the model with `batchgen download`."
    )


def _check_tensors(file: Path) -> None:
    """Compare a file's length with what its header promises.

    The format: eight bytes with the header's length, the header as JSON, then the tensors, each at
    `data_offsets` counted from the header's end.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(len(LFS))
            length = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else size
            stream.seek(8)
            header = stream.read(length) if 8 + length <= size else b""
    except OSError as error:
        raise _missing(file) from error
    if start == LFS:
        raise _pointer(file)
    try:
        tensors = {k: v for k, v in json.loads(header).items() if k != "__metadata__"}
        end = max((int(tensor["data_offsets"][1]) for tensor in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ModelError(f"{file} has no readable header: it is cut off or damaged. {AGAIN}") from (
            error
        )
    if size != 8 + length + end:
        raise ModelError(
            f"{file} has {size} bytes, its header says {8 + length + end}: it is cut off or "
            f"damaged. {AGAIN}"
        )


def _stamps(file: Path) -> dict[str, list[Any]]:
    try:
        known = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {k: v for k, v in known.items() if isinstance(v, list) and len(v) == 4}


def _write(file: Path, text: str) -> None:
    """Replace a file in one step; what cannot be kept is only slow, so it is no error."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
        Path(temporary).replace(file)
    except OSError as error:
        logger.warning(
            "%s cannot be written (%s): hashes are computed anew each time.", file, error
        )


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
