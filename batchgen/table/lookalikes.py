"""Carried columns whose names look like settings: named, and never used unasked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches

from batchgen.table.columns import ROWS, SETTINGS, SIZE, canonical_name, normal, override

_WORDS: dict[str, tuple[str, ...]] = {
    "scheduler": (
        "sampler", "sampler_name", "scheduler_name", "sampling_method", "sampler_index",
        "scheduler_type", "sampler_type", "noise_scheduler",
    ),
    "steps": (
        "sampling_steps", "n_steps", "ddim_steps", "step_count", "num_sampling_steps",
        "denoising_steps", "diffusion_steps", "num_timesteps",
    ),
    "guidance_scale": (
        "guidance_strength", "cfg_guidance", "cfg_value", "unconditional_guidance_scale", "scale",
        "text_guidance", "text_guidance_scale", "prompt_guidance",
    ),
    "negative_prompt": (
        "uc", "neg", "negatives", "n_prompt", "negative_text", "negative_caption", "uncond",
        "unconditional_conditioning", "undesired_content",
    ),
    "width": ("w", "image_width", "img_width"),
    "height": ("h", "image_height", "img_height"),
    SIZE: ("size", "resolution", "image_size", "img_size", "dimensions", "canvas_size"),
    "images_per_prompt": (
        "n_iter", "batch_count", "n_samples", "num_samples", "num_outputs", "samples_per_prompt",
        "repeats", "num_repeats",
    ),
    "seed": ("random_seed", "noise_seed", "rng_seed", "generator_seed", "init_seed", "seeds"),
    "prompt_2": ("second_prompt", "prompt_secondary", "style_prompt"),
    "lora": ("loras", "lora_name", "lora_names", "lora_weights", "adapter", "adapters"),
    "clip_skip": ("clipskip", "clip_stop_at_last_layers", "stop_at_clip_layer"),
    "guidance_rescale": ("cfg_rescale", "rescale_cfg", "rescale_guidance"),
}  # fmt: skip
"""Setting to what other programs, and people, call it; names that mean the same everywhere are
aliases, and none of these is one. As `columns.normal` writes them."""

_NO_SETTINGS = {
    "aspect_ratio": "rows say their size by the columns width and height",
    "ar": "rows say their size by the columns width and height",
    "model": "all rows of a job are drawn by one model; -m model=a,b draws them by two",
    "model_name": "all rows of a job are drawn by one model; -m model=a,b draws them by two",
    "checkpoint": "all rows of a job are drawn by one model; -m model=a,b draws them by two",
}
"""Names of what no row can say, and how it is said."""

_LIKE = 0.8


def lookalikes(carried: Collection[str], used: Collection[str]) -> Iterator[str]:
    """Yield a note for each carried column whose name looks like that of a setting not in use.

    Args:
        carried: Names of the columns that give no setting.
        used: The settings that have a column.
    """
    for name in carried:
        setting = _setting_like(normal(name), used)
        if setting is not None:
            what = "size, as 832x1216" if setting == SIZE else canonical_name(setting)
            yield (
                f"column {name!r} is carried as it is; if it is the {what}, "
                f"set {override(setting, name)}"
            )
        elif normal(name) in _NO_SETTINGS:
            yield f"column {name!r} is carried as it is; {_NO_SETTINGS[normal(name)]}"


def _setting_like(name: str, used: Collection[str]) -> str | None:
    """Return the setting that a name looks like, unless another column gives it."""
    own = {word: one for one in SETTINGS for word in (canonical_name(one), *ROWS[one].aliases)}
    others = {word: setting for setting, words in _WORDS.items() for word in words}
    setting = others.get(name) or _squeezed({**others, **own}).get(name.replace("_", ""))
    if setting is None and name not in _NO_SETTINGS:
        close = get_close_matches(name, own, n=1, cutoff=_LIKE)
        setting = own[close[0]] if close else None
    taken = {setting, SIZE} if setting in ("width", "height") else {setting}
    taken |= {"width", "height"} if setting == SIZE else set()
    return None if taken & {*used} or name in own else setting


def _squeezed(words: dict[str, str]) -> dict[str, str]:
    """Return words without underscores, as `negativePrompt` is without case."""
    return {word.replace("_", ""): setting for word, setting in words.items()}
