"""Where a model's files are, and what identifies a model; imports no mindspore."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchgen.config import shell
from batchgen.config.device import DeviceKind
from batchgen.config.models import DemoModel, Dtype, FakeModel, ModelConfig, SdxlModel
from batchgen.config.paths import absence, expanded
from batchgen.errors import ModelError, ModelMissing
from batchgen.model.model_file import AGAIN, file_errors
from batchgen.model.model_files import ModelFiles, check
from batchgen.storage.hashes import hashes

__all__ = [
    "ModelIdentity",
    "cache_folder",
    "check",
    "dtypes",
    "find",
    "hub_places",
    "identity",
    "locate",
    "tokenizer_folder",
]

RECEIPT = "batchgen-download.json"
"""What was fetched from where, in the model's folder."""

FAKE_REVISION = "fake-1"

DEMO_FOLDER = Path(__file__).parents[1] / "assets" / "demo"
"""The demo model's files, which come with the package; `tools/train_demo` makes them."""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What must be equal for two models to make equal images."""

    name: str
    revision: str
    """A digest of the contents of the files that are loaded."""
    dtype: str
    """Of the weights, and of the VAE's where that differs: float16+vae-float32."""


def cache_folder() -> Path:
    """Where batchgen keeps what it can make again: $BATCHGEN_CACHE, or in the user's cache.

    Raises `ModelError` for a user without a home, as in some containers.
    """
    if own := os.environ.get("BATCHGEN_CACHE"):
        return expanded(own)
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(cache).expanduser() / "batchgen"
    except RuntimeError as error:
        raise ModelError(
            f"{cache} is nowhere: user {os.getuid()} has no home, and HOME is not set. Set "
            "BATCHGEN_CACHE to a folder for what batchgen keeps of models."
        ) from error


def mirror_folder(hub_id: str) -> Path:
    """Where `batchgen download --from FOLDER` copies a model to."""
    return cache_folder() / "models" / hub_id.replace("/", "--")


def stamps_file() -> Path:
    """Where the hashes of model files are kept, so that each is computed once."""
    return cache_folder() / "hashes.json"


def dtypes(model: ModelConfig, kind: DeviceKind) -> tuple[Dtype, Dtype]:
    """Types that the model and its VAE compute in; a CPU has full kernels for float32 only."""
    if kind is not DeviceKind.ascend or isinstance(model, FakeModel):
        return Dtype.float32, Dtype.float32
    if isinstance(model, SdxlModel):
        return model.dtype, model.vae_dtype
    return Dtype.float16, Dtype.float32


def identity(model: ModelConfig, kind: DeviceKind) -> ModelIdentity:
    """Identify a model by its contents; an unchanged file is hashed once only.

    Raises `ModelError` if the files are not here, or not a whole model.
    """
    main, vae = (dtype.value for dtype in dtypes(model, kind))
    return ModelIdentity(
        name=model.name,
        revision=_revision(model),
        dtype=main if main == vae else f"{main}+vae-{vae}",
    )


def _revision(model: ModelConfig) -> str:
    if isinstance(model, FakeModel):
        return FAKE_REVISION + ("-batch-sensitive" if model.batch_sensitive else "")
    files = find(model)
    files.check()
    paths = {
        "single" if path == files.single else path.relative_to(files.folder).as_posix(): path
        for path in files.loaded()
    }
    with file_errors(files.folder):
        contents = dict(zip(paths, hashes(list(paths.values()), stamps_file()), strict=True))
    _refuse_changed(files.folder, contents)
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()[:16]


def receipt(folder: Path) -> dict[str, Any]:
    """What `batchgen download` wrote down beside a model: `from`, `patterns`, `sha256` by path.

    It is `complete` once all files of the patterns were hashed. Empty where it did not fetch the
    model, or what it wrote cannot be read.
    """
    try:
        written = json.loads((folder / RECEIPT).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    is_one = isinstance(written, dict) and isinstance(written.get("sha256"), dict)
    return written if is_one and isinstance(written.get("patterns", []), list) else {}


def _refuse_changed(folder: Path, contents: dict[str, str]) -> None:
    fetched = receipt(folder).get("sha256", {})
    for name, content in contents.items():
        if fetched.get(name, content) != content:
            raise ModelError(
                f"{folder / name} is not as it was fetched: its SHA-256 is {content}, not "
                f"{fetched[name]}. {AGAIN} If you changed it yourself, "
                f"delete {folder / RECEIPT}."
            )


def locate(model: ModelConfig) -> Path:
    """The model's folder or its single file; raises as `find` does."""
    files = find(model)
    return files.single or files.folder


def find(model: ModelConfig) -> ModelFiles:
    """The files of a model: ours, those at `path`, or the first whole ones where hubs put them.

    What `path` names is not checked yet. Raises `ModelError` if there is none; for an incomplete
    model in a cache it names what is missing.
    """
    if isinstance(model, DemoModel):
        return ModelFiles(DEMO_FOLDER)
    if not isinstance(model, SdxlModel):
        raise TypeError(f"a {type(model).__name__} has no files")
    if model.path is None:
        return _cached(model)
    path = expanded(model.path)
    with file_errors(path):
        if path.is_symlink() and not path.exists():
            raise ModelError(
                f"model.path={model.path} {absence(path)}. Correct the link or the path."
            )
        if path.is_file():
            return _beside(path, model)
        has_index = (path / "model_index.json").is_file()
    if not has_index:
        raise ModelError(
            f"model.path={model.path} is not a model: it has no model_index.json. Name the folder "
            "that holds model_index.json, unet/, vae/ and the rest, or one .safetensors file."
        )
    return files_in(path, model)


def files_in(folder: Path, model: SdxlModel) -> ModelFiles:
    """The files of a model whose configs, and weights if not in a single file, are in `folder`."""
    path = expanded(model.path) if model.path else None
    single = path if path is not None and path.suffix == ".safetensors" else None
    return ModelFiles(folder, model.variant, single, model.full_precision_vae)


def _beside(single: Path, model: SdxlModel) -> ModelFiles:
    """A single file with the folder that has what it lacks: configs, tokenizers, the scheduler."""
    if single.suffix != ".safetensors":
        raise ModelError(
            f"model.path={single} is not a .safetensors file; opening another can run any code. "
            "Name a .safetensors file, or a folder with model_index.json."
        )
    if model.config_path is not None:
        return files_in(expanded(model.config_path), model)
    return _cached(model)


def _cached(model: SdxlModel) -> ModelFiles:
    places = list(dict.fromkeys(hub_places(model.hub_id, model.huggingface_id)))
    first_fault: ModelError | None = None
    for folder in places:
        if (folder / "model_index.json").is_file():
            files = files_in(folder, model)
            try:
                files.check()
            except ModelError as fault:
                first_fault = first_fault or fault
            else:
                return files
    if first_fault is not None:
        raise first_fault
    looked = "".join(f"\n  {place}" for place in places)
    if model.path is not None:
        at = shell.override("model.path", model.path)
        raise ModelError(
            f"{model.path} holds tensors only, and the configs and tokenizers of {model.hub_id} "
            f"are not on this machine. Fetch them, a few MB, with `batchgen download {at}` and the "
            "other settings of this job, or set model.config_path to a "
            f"folder with model_index.json. Looked in:{looked}"
        )
    raise ModelMissing(
        f"{model.hub_id} is not on this machine. Fetch it with `batchgen download` and the "
        f"settings of this job, or set model.path to its folder. Looked in:{looked}"
    )


def tokenizer_folder(model: ModelConfig) -> Path | None:
    """Where the model's vocabulary is; None for a model without one."""
    return None if isinstance(model, FakeModel) else find(model).folder / "tokenizer"


def hub_places(hub_id: str, huggingface_id: str | None = None) -> Iterator[Path]:
    """Yield where ModelScope, old and new, and Hugging Face put what they fetched, and ./models."""
    owner, _, name = hub_id.rpartition("/")
    base = expanded(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope")
    yield from _snapshots(base / "models" / hub_id.replace("/", "--"))
    for root in (base / "hub" / "models", base / "models", base / "hub", base):
        # ModelScope writes a dot in a name as three underscores, older releases as it is.
        yield root / owner / name.replace(".", "___")
        yield root / owner / name
    yield mirror_folder(hub_id)
    home = expanded(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    hub = expanded(os.environ.get("HF_HUB_CACHE") or home / "hub")
    yield from _snapshots(hub / f"models--{(huggingface_id or hub_id).replace('/', '--')}")
    yield Path("models") / name


def _snapshots(repository: Path) -> Iterator[Path]:
    """Revisions in a hub's cache, the newest first; the empty folder itself where there is none."""
    found = [path for path in repository.glob("snapshots/*") if path.is_dir()]
    yield from sorted(found, key=lambda path: path.stat().st_mtime, reverse=True) or [repository]
