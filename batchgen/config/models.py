"""The models and adapters a job may name, each with the settings of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from batchgen.config import lora
from batchgen.config.settings import SETTINGS
from batchgen.config.validation import number_problem, prefixed


class Dtype(str, Enum):
    """Floating-point type of weights and activations."""

    float16 = "float16"
    bfloat16 = "bfloat16"
    float32 = "float32"


@dataclass(kw_only=True)
class ModelConfig:
    """The settings that every model has."""

    name: str = ""
    """The name in the metadata and in the `parameters` text."""
    width: int = 1024
    """The size of an image, in pixels, where neither job nor row says another."""
    height: int = 1024
    full_size: bool = False
    """Too large to be practical on a CPU; refused there unless `device=cpu` is given."""
    vae_tiling: str = "off"
    """Decode in tiles, with less memory and perhaps seams: `off`, `on`, or for images whose longer
    side is above so many pixels; `off` leaves it to the memory ladder."""

    def __post_init__(self) -> None:
        """Read the `on` and `off` that YAML takes for true and false."""
        word = str(self.vae_tiling).casefold()
        self.vae_tiling = {"true": "on", "false": "off"}.get(word, word)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each field that is out of range."""
        values = {name: SETTINGS[name].problem(getattr(self, name)) for name in ("width", "height")}
        if not self.name:
            values["name"] = "is empty"
        if self.vae_tiling not in ("on", "off") and not self.vae_tiling.isdecimal():
            values["vae_tiling"] = "is neither on, off, nor a number of pixels"
        yield from prefixed("model.", values, self)

    def is_tiled(self, width: int, height: int) -> bool:
        """Return whether an image of this size is decoded in tiles from the start."""
        if self.vae_tiling.isdecimal():
            return max(width, height) > int(self.vae_tiling)
        return self.vae_tiling == "on"


@dataclass(kw_only=True)
class SdxlModel(ModelConfig):
    """Stable Diffusion XL, in diffusers' folder layout or in a single file of its first layout."""

    name: str = "sdxl-base"
    full_size: bool = True
    path: str | None = None
    """A folder with model_index.json, or one .safetensors file; None looks in the hubs' caches."""
    config_path: str | None = None
    """Beside a single file: a folder with model_index.json, configs and tokenizers; None looks in
    the caches of ModelScope and Hugging Face."""
    hub_id: str = "AI-ModelScope/stable-diffusion-xl-base-1.0"
    """The model's name on ModelScope, for `batchgen download`."""
    hub_revision: str = "master"
    """A branch, tag or commit there; a download writes down the SHA-256 of each file it gave."""
    huggingface_id: str = "stabilityai/stable-diffusion-xl-base-1.0"
    """The model's name on Hugging Face, for `batchgen download --from hf`."""
    huggingface_revision: str = "462165984030d82259a11f4367a4eed129e94a7b"
    variant: str | None = "fp16"
    """The suffix of the weight files, as in diffusers; None for the plain ones."""
    full_precision_vae: bool = False
    """Take the VAE's files without a suffix, which are float32 and 0.17 GB larger."""
    dtype: Dtype = Dtype.float16
    """On an NPU; a CPU always computes in float32."""
    vae_dtype: Dtype = Dtype.float32


@dataclass(kw_only=True)
class DemoModel(ModelConfig):
    """A small SDXL that draws coloured shapes; it comes with the package, for trials and tests."""

    name: str = "demo"
    width: int = 128
    height: int = 128


@dataclass(kw_only=True)
class FakeModel(ModelConfig):
    """Deterministic pixels without a model, and every fault that a job must survive.

    The lists hold row indexes; a row named there fails on every attempt.
    """

    name: str = "fake"
    latency_s: float = 0.0
    """Seconds an image takes, making its pixels included."""
    batch_latency_s: float = 0.0
    """Seconds a batch takes beside those of its images."""
    batch_sensitive: bool = False
    """Let the pixels depend on the make-up of the batch, which real devices do in the last bits."""
    fail_rows: list[int] = field(default_factory=list)
    blank_rows: list[int] = field(default_factory=list)
    nan_rows: list[int] = field(default_factory=list)
    nan_until_float32: list[int] = field(default_factory=list)
    """NaN until the VAE runs in float32."""
    hang_rows: list[int] = field(default_factory=list)
    crash_rows: list[int] = field(default_factory=list)
    """The process dies."""
    oom_above_batch: int | None = None
    """Out of memory in a batch of more images than this."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each field that is out of range."""
        yield from ModelConfig.problems(self)
        seconds = ("latency_s", "batch_latency_s")
        values = {name: number_problem(getattr(self, name), 0, 10**6) for name in seconds}
        if self.oom_above_batch is not None:
            values["oom_above_batch"] = number_problem(self.oom_above_batch, 0, 10**6, whole=True)
        yield from prefixed("model.", values, self)


@dataclass(kw_only=True)
class AdapterConfig:
    """A LoRA for the model; `adapters.<name>` in the config, by that name in `lora`."""

    path: str | None = None
    """A .safetensors file or its folder; None looks for `hub_id` in the caches of the hubs."""
    hub_id: str | None = None
    """The adapter's name on ModelScope or Hugging Face, such as nerijs/pixel-art-xl; `batchgen
    download` fetches it."""
    huggingface_id: str | None = None
    """Its name on Hugging Face, where it has another there."""
    weight_name: str | None = None
    """The file in the folder or on the hub; None where there is only one."""

    def problems(self, name: str) -> Iterator[str]:
        """Yield a sentence for each field that cannot be used; `name` is the adapter's own."""
        key = f"adapters.{name}"
        if not lora.NAME.fullmatch(name) or name == lora.NONE:
            yield (
                f"{key} cannot be the name of an adapter: letters, digits, _ and - make one, "
                f"and {lora.NONE!r} means that there is none."
            )
        if (self.path is None) == (self.hub_id is None):
            yield f"{key} needs one of two: {key}.path, a file, or {key}.hub_id, a name on a hub."


MODELS: dict[str, type[ModelConfig]] = {
    "sdxl-base": SdxlModel,
    "demo": DemoModel,
    "fake": FakeModel,
}
