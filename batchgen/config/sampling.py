"""How images are sampled: the settings of a job that a row of its table may override."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from batchgen.config.schedulers import MOST_STEPS, OWN_SPACING, canonical
from batchgen.config.validation import prefixed, sampling_problem


class TimestepSpacing(str, Enum):
    """How a scheduler spreads its steps over the noise schedule; `model` is the model's own way."""

    model = "model"
    leading = "leading"
    linspace = "linspace"
    trailing = "trailing"


class LongPrompt(str, Enum):
    """What becomes of a prompt of more tokens than a text encoder takes, 75 and two marks."""

    cut = "cut"
    chunk = "chunk"


@dataclass(kw_only=True)
class SamplingConfig:
    """What shapes every image of the job; a row may override all but the last three."""

    steps: int = 20
    guidance_scale: float = 7.5
    """Classifier-free guidance; off at 1 and below."""
    guidance_rescale: float = 0.0
    """Share of the rescaled prediction, 0 to 1: against overexposure (arXiv 2305.08891, 3.4)."""
    cfg_cutoff: float = 1.0
    """Share of the steps that guidance is on for; those after it cost half."""
    clip_skip: int = 0
    """Layers of the text encoders left out, counted from SDXL's own, the last but one."""
    width: int | None = None
    """Pixels, a multiple of 8; None is the model's own size."""
    height: int | None = None
    scheduler: str = "euler"
    """Under any of its names: docs/sampling.md."""
    negative_prompt: str = ""
    lora: str = ""
    """Which of `adapters`, and how strongly: `pixel:0.8 film:0.5`; a bare name is weight 1."""
    timestep_spacing: TimestepSpacing = TimestepSpacing.model
    """How the steps are spread; some schedulers have a way of their own: docs/sampling.md."""
    long_prompt: LongPrompt = LongPrompt.cut
    """`cut` leaves out what is over 75 tokens, `chunk` encodes it 75 at a time."""
    weighting: bool = False
    """Read `(word:1.2)`, `(word)` and `[word]` in prompts as weights."""

    def __post_init__(self) -> None:
        """Call the scheduler by its one name, so that its spelling changes nothing."""
        if isinstance(self.scheduler, str):
            self.scheduler = canonical(self.scheduler)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each field that is out of range."""
        values = {
            field.name: sampling_problem(field.name, value)
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        yield from prefixed("sampling.", values, self)
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
