"""A scheduler of `config.schedulers.SCHEDULERS` as an object of mindone's."""

from __future__ import annotations

from typing import Any

from batchgen.config.schedulers import SCHEDULERS
from batchgen.config.setting_choices import TimestepSpacing


def scheduler(
    name: str, model_config: Any, timestep_spacing: str = "model", *, has_zero_snr: bool = False
) -> Any:
    """A new scheduler for one call: they keep state, which must not leak into the next.

    Args:
        name: Of `config.schedulers.SCHEDULERS`.
        model_config: That of the scheduler the model came with; its noise schedule holds for all
            of them.
        timestep_spacing: `model` for that of `model_config`, or another.
        has_zero_snr: The model's, which a mark in its file can say as well.
    """
    from mindone.diffusers import schedulers

    wanted = SCHEDULERS[name]
    options = dict(wanted.options)
    if timestep_spacing != TimestepSpacing.model:
        options["timestep_spacing"] = timestep_spacing
    if has_zero_snr:
        options["rescale_betas_zero_snr"] = True
    return getattr(schedulers, wanted.class_name).from_config(model_config, **options)
