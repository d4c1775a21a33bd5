"""The one table of the settings of an image.

`Settings` holds the resolved settings of one image, and each of its fields carries its row of the
table. What a config may say, which columns of a prompt table mean what, which images share a batch,
what enters a fingerprint, the columns of the metadata, the `parameters` text and the pages of docs/
are derived from these rows. A new setting is a field at the end of `Settings`, with its row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

from batchgen.config import lora, schedulers
from batchgen.config.setting_choices import LongPrompt, TimestepSpacing
from batchgen.config.setting_row import Hashed, Setting

SEED_LIMIT = 2**63
"""Seeds are below this: other readers of the metadata know signed 64-bit integers only."""


def _row(setting: Setting) -> Any:
    """Return a field of `Settings` that carries its row."""
    default = dataclasses.MISSING if setting.default is None else setting.default
    return dataclasses.field(default=default, metadata={"setting": setting})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The resolved settings of one image: all that shapes it, next to the model.

    The order of the fields is that in which they enter the fingerprint, and stays as it is.
    """

    prompt: str = _row(
        Setting(
            "the prompt, exactly as in the table",
            in_table=True,
            aliases=("text", "caption", "positive_prompt"),
            hashed=Hashed.text,
            column="text",
        )
    )
    prompt_2: str | None = _row(
        Setting(
            "the prompt of the second text encoder; null where it is the first's",
            in_table=True,
            aliases=("prompt2",),
            hashed=Hashed.text,
            label="Prompt 2",
        )
    )
    negative_prompt: str = _row(
        Setting(
            "the negative prompt; empty where there is none",
            default="",
            in_table=True,
            aliases=("negative", "neg_prompt"),
            hashed=Hashed.text,
        )
    )
    seed: int = _row(
        Setting(
            "seed of the image's own noise generator, below 2**63",
            low=0,
            high=SEED_LIMIT - 1,
            in_table=True,
            hashed=Hashed.seed,
            label="Seed",
        )
    )
    steps: int = _row(
        Setting(
            "denoising steps",
            default=20,
            low=1,
            high=1000,
            in_table=True,
            aliases=("num_inference_steps", "inference_steps", "num_steps"),
            is_shared=True,
            hashed=Hashed.word,
            label="Steps",
        )
    )
    guidance_scale: float = _row(
        Setting(
            "classifier-free guidance; off at 1 and below",
            default=7.5,
            low=0,
            high=100,
            in_table=True,
            aliases=("cfg_scale", "cfg", "guidance"),
            is_shared=True,
            hashed=Hashed.word,
            label="CFG scale",
        )
    )
    width: int = _row(
        Setting(
            "pixels, a multiple of 8",
            low=64,
            high=8192,
            multiple_of=8,
            in_table=True,
            is_shared=True,
            hashed=Hashed.word,
        )
    )
    height: int = _row(
        Setting(
            "pixels, a multiple of 8",
            low=64,
            high=8192,
            multiple_of=8,
            in_table=True,
            is_shared=True,
            hashed=Hashed.word,
        )
    )
    scheduler: str = _row(
        Setting(
            "the scheduler; docs/sampling.md has the names",
            default="euler",
            check=schedulers.scheduler_problem,
            spelling=schedulers.canonical,
            in_table=True,
            is_shared=True,
            hashed=Hashed.word,
            label="Sampler",
        )
    )
    timestep_spacing: str = _row(
        Setting(
            "how the scheduler spreads its steps; `model` is the model's own way, and some "
            "schedulers have one of their own: docs/sampling.md",
            default="model",
            choices=TimestepSpacing,
            hashed=Hashed.word,
            label="Timestep spacing",
        )
    )
    guidance_rescale: float = _row(
        Setting(
            "share of the rescaled prediction, 0 to 1, against overexposure (arXiv 2305.08891, "
            "section 3.4); off at 0",
            default=0.0,
            low=0,
            high=1,
            in_table=True,
            is_shared=True,
            hashed=Hashed.word,
            label="CFG rescale",
        )
    )
    cfg_cutoff: float = _row(
        Setting(
            "share of the steps that guidance is on for; those after it cost half",
            default=1.0,
            low=0.01,
            high=1,
            in_table=True,
            is_shared=True,
            hashed=Hashed.word,
            label="CFG cutoff",
        )
    )
    clip_skip: int = _row(
        Setting(
            "layers of the text encoders left out, counted from SDXL's own, the last but one",
            default=0,
            low=0,
            high=11,
            in_table=True,
            hashed=Hashed.word,
            label="Clip skip",
        )
    )
    long_prompt: str = _row(
        Setting(
            "what becomes of a prompt of more than 75 tokens: `cut` leaves out the rest, `chunk` "
            "encodes it 75 at a time",
            default="cut",
            choices=LongPrompt,
            hashed=Hashed.word,
            label="Long prompt",
        )
    )
    weighting: bool = _row(
        Setting(
            "whether `(word:1.2)`, `(word)` and `[word]` in prompts are weights",
            default=False,
            hashed=Hashed.word,
            label="Prompt weighting",
        )
    )
    lora: str = _row(
        Setting(
            "adapters and their weights, `pixel:0.8 film:0.5`; a bare name is weight 1, empty is "
            "none",
            default="",
            check=lora.problem,
            in_table=True,
            is_shared=True,
            hashed=Hashed.adapters,
            label="Lora",
        )
    )
    unet_cache: int = _row(
        Setting(
            "the deep blocks of the UNet run on every n-th step only, and what they gave is kept "
            "in between (DeepCache, arXiv 2312.00858); off at 0",
            default=0,
            low=0,
            high=100,
            in_table=True,
            is_shared=True,
            label="UNet cache",
        )
    )
    unet_cache_branch: int = _row(
        Setting(
            "the skip connection of the UNet that `unet_cache` keeps all below of; 0 is the "
            "outermost, SDXL has 9",
            default=0,
            low=0,
            high=8,
            in_table=True,
            is_shared=True,
            label="UNet cache branch",
        )
    )

    def as_columns(self) -> dict[str, Any]:
        """Return the settings under the names of their columns in the metadata."""
        return {row.metadata_column: getattr(self, name) for name, row in SETTINGS.items()}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> Settings:
        """Return the settings behind a row of the metadata.

        A column that is not there or null, for a setting that came after the row was written, is
        the default. Raises `KeyError` for one without a default.
        """
        return cls(
            **{
                name: columns[row.metadata_column]
                for name, row in SETTINGS.items()
                if row.default is None or columns.get(row.metadata_column) is not None
            }
        )


def _rows() -> dict[str, Setting]:
    hints = get_type_hints(Settings)
    return {
        field.name: dataclasses.replace(
            field.metadata["setting"],
            name=field.name,
            kind=next(iter(get_args(hints[field.name])), hints[field.name]),
        )
        for field in dataclasses.fields(Settings)
    }


SETTINGS: Mapping[str, Setting] = MappingProxyType(_rows())
"""The table: name to row, in the order of `Settings`."""

IMAGES_PER_PROMPT = Setting(
    "images of the row, each with the next seed",
    default=1,
    low=1,
    high=10_000,
    in_table=True,
    aliases=("num_images_per_prompt", "num_images", "n_images"),
    name="images_per_prompt",
    kind=int,
)
"""What else a row may say: how many images it makes is no setting of any of them."""


def default_of(name: str) -> Any:
    """Return a config's field for a setting, with the default of the table.

    A setting of few words is an enum there, which configs are checked by.
    """
    row = SETTINGS[name]
    value = row.default if row.choices is None else row.choices(row.default)
    return dataclasses.field(default=value)
