"""Where a model's files are, and what tells one model from another; knows nothing of mindspore."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchgen.config import DeviceKind
from batchgen.errors import ModelError
from batchgen.hashes import hashes
from batchgen.model_files import ModelFiles, check
from batchgen.models import DemoModel, Dtype, FakeModel, ModelConfig, SdxlModel

__all__ = ["ModelIdentity", "cache_folder", "check", "dtypes", "find", "identity", "locate"]

RECEIPT = "batchgen-download.json"
"""What was fetched from where, in the model's folder."""

FAKE_REVISION = "fake-1"

UNET: dict[str, Any] = {
    "sample_size": 16, "in_channels": 4, "out_channels": 4, "layers_per_block": 1,
    "block_out_channels": [64, 128], "norm_num_groups": 16,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 1], "attention_head_dim": [2, 4],
    "cross_attention_dim": 128, "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 256,
}  # fmt: skip

VAE: dict[str, Any] = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "sample_size": 128,
    "block_out_channels": [16, 32, 32, 32], "layers_per_block": 1, "norm_num_groups": 8,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "scaling_factor": 0.13025, "force_upcast": True,
}  # fmt: skip

TEXT: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "projection_dim": 64, "max_position_embeddings": 77, "hidden_act": "quick_gelu",
}  # fmt: skip

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "prediction_type": "epsilon", "clip_sample": False,
    "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "timestep_spacing": "leading", "interpolation_type": "linear", "use_karras_sigmas": False,
}  # fmt: skip

DEMO_WORDS = (
    "a an the of in on at with and by to from over under near red green blue yellow white black "
    "photo painting drawing portrait landscape cat dog bird horse house tree flower mountain sea "
    "city street night day light sky sun moon water river forest old young man woman child "
    "beautiful detailed colorful style oil watercolor digital art high quality"
)
"""Words that are one token to the demo's tokenizers; others are spelt."""

DEMO_RECIPE: dict[str, Any] = {
    "drawing": 3,
    "gains": {"unet": {"attn2.to_out": 3.0, "add_embedding": 3.0}, "vae": {"conv_out": 0.7}},
    "words": DEMO_WORDS,
    "unet": UNET,
    "vae": VAE,
    "text_encoder": TEXT,
    "text_encoder_2": TEXT | {"hidden_act": "gelu"},
    "scheduler": SCHEDULER,
}
"""All that shapes the demo model; `drawing` counts the ways in which its weights were drawn,
`gains` strengthens what a name holds: the prompt in the UNet, so that it shows.

It stands here because a model's identity is asked for where no mindspore is.
"""

DEMO_REVISION = hashlib.sha256(json.dumps(DEMO_RECIPE, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What must be equal for two models to make equal images."""

    name: str
    revision: str
    """A digest of the contents of the files that are loaded, or of the recipe."""
    dtype: str
    """Of the weights, and of the VAE's where that differs: float16+vae-float32."""


def cache_folder() -> Path:
    """Where batchgen keeps what it can make again: $BATCHGEN_CACHE, or in the user's cache."""
    if own := os.environ.get("BATCHGEN_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "batchgen"


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
    """Tell a model by its contents; hashes the files once, then knows them by their time stamps.

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
    if isinstance(model, DemoModel):
        return DEMO_REVISION
    if not isinstance(model, SdxlModel):
        raise TypeError(f"no model is a {type(model).__name__}")
    files = find(model)
    files.check()
    paths = {
        "single" if path == files.single else path.relative_to(files.folder).as_posix(): path
        for path in files.loaded()
    }
    contents = dict(zip(paths, hashes(list(paths.values()), stamps_file()), strict=True))
    _refuse_changed(files.folder, contents)
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()[:16]


def receipt(folder: Path) -> dict[str, Any]:
    """What `batchgen download` wrote down beside a model: `from`, `patterns`, and `sha256` by path.

    Empty where it did not fetch the model, or what it wrote cannot be read.
    """
    try:
        written = json.loads((folder / RECEIPT).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    is_one = isinstance(written, dict) and isinstance(written.get("sha256"), dict)
    return written if is_one else {}


def _refuse_changed(folder: Path, contents: dict[str, str]) -> None:
    fetched = receipt(folder).get("sha256", {})
    for name, content in contents.items():
        if fetched.get(name, content) != content:
            raise ModelError(
                f"{folder / name} is not as it was fetched: its SHA-256 is {content}, not "
                f"{fetched[name]}. Fetch it again with `batchgen download`; if you changed it "
                f"yourself, delete {folder / RECEIPT}."
            )


def locate(model: SdxlModel) -> Path:
    """The model's folder or its single file; raises as `find` does."""
    files = find(model)
    return files.single or files.folder


def find(model: SdxlModel) -> ModelFiles:
    """The files of a model: those at `path`, or the first whole ones where hubs put them.

    What `path` names is not checked yet. Raises `ModelError` if there is none; a model in a cache
    that is not whole says what it lacks.
    """
    if model.path is None:
        return _cached(model)
    path = Path(model.path).expanduser()
    if path.is_file():
        return _beside(path, model)
    if not (path / "model_index.json").is_file():
        raise ModelError(
            f"model.path={model.path} is not a model: it has no model_index.json. Name the folder "
            "that holds model_index.json, unet/, vae/ and the rest, or one .safetensors file."
        )
    return files_in(path, model)


def files_in(folder: Path, model: SdxlModel) -> ModelFiles:
    """The files of a model whose configs, and weights if not in a single file, are in `folder`."""
    path = Path(model.path).expanduser() if model.path else None
    single = path if path is not None and path.suffix == ".safetensors" else None
    return ModelFiles(folder, model.variant, single, model.full_precision_vae)


def _beside(single: Path, model: SdxlModel) -> ModelFiles:
    """A single file with the folder that has what it lacks: configs, tokenizers, the scheduler."""
    if single.suffix != ".safetensors":
        raise ModelError(
            f"model.path={single} is no .safetensors file; opening another can run any code. "
            "Name a .safetensors file, or a folder with model_index.json."
        )
    if model.config_path is not None:
        return files_in(Path(model.config_path).expanduser(), model)
    return _cached(model)


def _cached(model: SdxlModel) -> ModelFiles:
    places = list(dict.fromkeys(_places(model)))
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
        raise ModelError(
            f"{model.path} holds tensors only, and the configs and tokenizers of {model.hub_id} "
            "are not on this machine. Fetch them, a few MB, with `batchgen download model.path="
            f"{model.path}`, or set model.config_path to a folder with model_index.json. "
            f"Looked in:{looked}"
        )
    raise ModelError(
        f"{model.hub_id} is not on this machine. Fetch it with `batchgen download "
        f"model={model.name}`, or set model.path to its folder. Looked in:{looked}"
    )


def _places(model: SdxlModel) -> Iterator[Path]:
    hub_id = model.hub_id
    owner, _, name = hub_id.rpartition("/")
    base = Path(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope").expanduser()
    yield from _snapshots(base / "models" / hub_id.replace("/", "--"))
    for root in (base / "hub" / "models", base / "models", base / "hub", base):
        # ModelScope writes a dot in a name as three underscores, older releases as it is.
        yield root / owner / name.replace(".", "___")
        yield root / owner / name
    yield mirror_folder(hub_id)
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    yield from _snapshots(hub / f"models--{model.huggingface_id.replace('/', '--')}")
    yield Path("models") / name


def _snapshots(repository: Path) -> Iterator[Path]:
    """Revisions in a hub's cache, the newest first; the empty folder itself where there is none."""
    found = [path for path in repository.glob("snapshots/*") if path.is_dir()]
    yield from sorted(found, key=lambda path: path.stat().st_mtime, reverse=True) or [repository]
