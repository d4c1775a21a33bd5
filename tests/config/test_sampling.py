"""The sampling settings of a job: what cannot be sampled is refused before a model is loaded."""

from __future__ import annotations

import numpy as np
import pytest

from batchgen.config.sampling import SamplingConfig, spreads_evenly
from batchgen.config.setting_choices import TimestepSpacing


def problems(**settings: object) -> str:
    """What is said against settings."""
    return " ".join(SamplingConfig(**settings).problems())  # type: ignore[arg-type]


@pytest.mark.parametrize("scheduler", ["lcm", "tcd"])
def test_more_steps_than_a_distilled_scheduler_knows_are_refused(scheduler: str) -> None:
    """Diffusers refuses them at the first row only."""
    assert not problems(scheduler=scheduler, steps=50)
    assert f"{scheduler} takes 50 at most" in problems(scheduler=scheduler, steps=51)


def test_trailing_steps_that_come_out_as_one_more_are_refused() -> None:
    """61 is the first such number; others are as many as were asked for."""
    trailing = TimestepSpacing.trailing
    assert "sampling.steps=61" in problems(timestep_spacing=trailing, steps=61)
    assert not problems(timestep_spacing=trailing, steps=60)
    assert not problems(timestep_spacing=TimestepSpacing.leading, steps=61)
    uneven = [steps for steps in range(1, 103) if not spreads_evenly(trailing, steps)]
    assert uneven == [61]
    assert len(np.arange(1000, 0, -1000 / 61)) == 62
