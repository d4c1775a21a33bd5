"""How images are sampled: the settings of a job that a row of its table may override."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from batchgen.config.schedulers import (
    CALLED_TWICE,
    MOST_STEPS,
    OWN_SPACING,
    called_twice_problem,
    canonical,
)
from batchgen.config.setting_choices import LongPrompt, TimestepSpacing
from batchgen.config.settings import SETTINGS, default_of
from batchgen.config.validation import prefixed


@dataclass(kw_only=True)
class SamplingConfig:
    """What shapes every image of the job; a row may override all but the last three."""

    steps: int = default_of("steps")
    guidance_scale: float = default_of("guidance_scale")
    guidance_rescale: float = default_of("guidance_rescale")
    cfg_cutoff: float = default_of("cfg_cutoff")
    clip_skip: int = default_of("clip_skip")
    width: int | None = None
    """Pixels, a multiple of 8; None is the model's own size."""
    height: int | None = None
    """Pixels, a multiple of 8; None is the model's own size."""
    scheduler: str = default_of("scheduler")
    negative_prompt: str = default_of("negative_prompt")
    lora: str = default_of("lora")
    timestep_spacing: TimestepSpacing = default_of("timestep_spacing")
    long_prompt: LongPrompt = default_of("long_prompt")
    weighting: bool = default_of("weighting")
    unet_cache: int = default_of("unet_cache")
    unet_cache_branch: int = default_of("unet_cache_branch")

    def __post_init__(self) -> None:
        """Call the scheduler by its one name, so that its spelling changes nothing."""
        if isinstance(self.scheduler, str):
            self.scheduler = canonical(self.scheduler)

    def values(self) -> dict[str, Any]:
        """Return the settings by name, as `Settings` and columns hold them."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: value.value if isinstance(value, Enum) else value for name, value in named.items()
        }

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each field that is out of range."""
        found = {
            field.name: SETTINGS[field.name].problem(value)
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        yield from prefixed("sampling.", found, self)
        spacing = self.timestep_spacing
        if self.scheduler in OWN_SPACING and spacing is not TimestepSpacing.model:
            yield (
                f"sampling.timestep_spacing={spacing.value} has no effect on {self.scheduler}, "
                "which spreads its steps in a way of its own: leave it out."
            )
        elif not spreads_evenly(spacing, self.steps):
            yield (
                f"sampling.steps={self.steps} with sampling.timestep_spacing=trailing comes to one "
                "step more, by rounding, and ends in noise: take a step more or less."
            )
        if self.unet_cache and self.scheduler in CALLED_TWICE:
            yield f"sampling.scheduler={self.scheduler} {called_twice_problem(self.unet_cache)}"
        if self.steps > MOST_STEPS.get(self.scheduler, self.steps):
            yield (
                f"sampling.steps={self.steps}: {self.scheduler} takes {MOST_STEPS[self.scheduler]} "
                "at most. Lower the steps, or choose another scheduler."
            )


def spreads_evenly(spacing: TimestepSpacing, steps: int) -> bool:
    """Return whether so many steps come out as so many.

    diffusers spreads trailing ones by `round(arange(1000, 0, -1000 / steps))`, whose length is one
    more for 61 steps and some numbers above 100.
    """
    is_trailing = spacing is TimestepSpacing.trailing
    return not is_trailing or steps < 1 or math.ceil(1000 / (1000 / steps)) == steps
