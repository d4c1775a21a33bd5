"""The noise schedule that a model was trained with, as its scheduler_config.json says it.

Every sampler on offer is built from that file and takes what it knows of it. Of another schedule,
such as EDM's, it would take nothing, put its own defaults in place and draw wrong in silence; so
what is not known here is refused by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchgen.config.schedulers import SCHEDULERS
from batchgen.errors import OtherModel

FILE = "scheduler/scheduler_config.json"
"""Where in a model's folder it stands."""

CLASSES = frozenset(scheduler.class_name for scheduler in SCHEDULERS.values()) | {
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverSDEScheduler",
    "KDPM2DiscreteScheduler",
}
"""Schedulers of diffusers whose settings of the noise schedule are those of ours, by the same names
and with the same meanings; a model may come with one that is not on offer itself."""

_ELSEWHERE: Mapping[str, tuple[Any, ...]] = {
    "sigma_data": (None,),
    "sigma_max": (None,),
    "sigma_min": (None,),
    "sigma_schedule": (None,),
    "timestep_type": (None, "discrete"),
    "trained_betas": (None,),
    "use_flow_sigmas": (None, False),
}
"""Settings of other noise schedules, and the values that leave them off."""

_WORDS: Mapping[str, tuple[str, ...]] = {
    "beta_schedule": ("scaled_linear", "linear", "squaredcos_cap_v2"),
    "prediction_type": ("epsilon", "v_prediction"),
    "timestep_spacing": ("leading", "linspace", "trailing"),
}

_EDM = ("edm_mean", "edm_std", "edm_vpred.")
"""What the names of tensors begin with that mark a single file as one of EDM's schedule."""

V_PREDICTION_TYPE = "v_prediction"

V_PREDICTION, ZERO_SNR = "v_pred", "ztsnr"
"""Empty tensors by which training tools mark a single file."""

_CURE = "Take a model of SDXL's own noise schedule"
_WRONG = "pictures would be drawn with another noise schedule than the model's"


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """What of a model's noise schedule decides which schedulers can draw with it, and how."""

    prediction_type: str
    has_zero_snr: bool
    """Whether the last timestep is noise alone (`rescale_betas_zero_snr`)."""
    is_marked: bool
    """Whether only the mark in a single file says so, and scheduler_config.json does not."""


PLAIN = NoiseSchedule("epsilon", has_zero_snr=False, is_marked=False)


def read(config: Mapping[str, Any], keys: Collection[str]) -> NoiseSchedule:
    """The schedule by scheduler_config.json and by the tensors of a single file, if there is one.

    All else in the config, `timestep_spacing` too, holds as it stands there.
    """
    says_so = bool(config.get("rescale_betas_zero_snr"))
    return NoiseSchedule(
        prediction_type=str(config.get("prediction_type", PLAIN.prediction_type)),
        has_zero_snr=says_so or ZERO_SNR in keys,
        is_marked=ZERO_SNR in keys and not says_so,
    )


def refuse_unknown(file: Path, config: Mapping[str, Any], index: object) -> None:
    """Raise `OtherModel` unless this scheduler_config.json says a schedule that is known here.

    `index` is what model_index.json has for the scheduler, library and class; None for nothing.
    """
    named = {"_class_name": config.get("_class_name")}
    if index is not None:
        named["model_index.json"] = index[-1] if isinstance(index, list) and index else index
    for where, name in named.items():
        if not isinstance(name, str) or name not in CLASSES:
            said = f"is of the class {name}" if name is not None else f"has no {where}"
            if where != "_class_name":
                said = f"is, by {where}, of the class {name}"
            raise _refusal(file, f"{said}; batchgen knows no such scheduler for SDXL")
    for key, off in _ELSEWHERE.items():
        if config.get(key) not in off:
            raise _refusal(file, f"has {key}={config[key]!r}, which is of another noise schedule")
    for key, known in _WORDS.items():
        # Where one of the others is not there, diffusers' own default holds, as in diffusers.
        if (key in config or key == "beta_schedule") and config.get(key) not in known:
            raise _refusal(file, f"has {key}={config.get(key)!r}, not {_either(known)}")
    _refuse_other_numbers(file, config)


def refuse_marks(single: Path, keys: Collection[str], scheduler: Path, predicted: str) -> None:
    """Raise `OtherModel` for a single file that is marked as another kind than its scheduler says.

    Args:
        single: The file.
        keys: Names of its tensors.
        scheduler: The scheduler_config.json beside it.
        predicted: The prediction type in there.
    """
    edm = next((key for key in sorted(keys) if key.startswith(_EDM)), None)
    if edm is not None:
        raise OtherModel(
            f"{single} has the tensor {edm}, so it is of EDM's noise schedule, as Playground v2.5 "
            f"is; {_WRONG}. {_CURE}."
        )
    if V_PREDICTION in keys and predicted != V_PREDICTION_TYPE:
        raise OtherModel(
            f"{single} predicts v, and {scheduler} does not say so. Set model.config_path to a "
            f"folder whose scheduler has prediction_type={V_PREDICTION_TYPE}."
        )


def _refuse_other_numbers(file: Path, config: Mapping[str, Any]) -> None:
    steps = config.get("num_train_timesteps", 1000)
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise _refusal(file, f"has num_train_timesteps={steps!r}, which is not a number of steps")
    zero_snr = config.get("rescale_betas_zero_snr")
    if zero_snr not in (None, True, False):
        raise _refusal(file, f"has rescale_betas_zero_snr={zero_snr!r}, not true or false")
    if config["beta_schedule"] == "squaredcos_cap_v2":
        return
    for key in ("beta_start", "beta_end"):
        if key not in config:
            raise _refusal(file, f"has no {key}, and each scheduler would take another")
        value = config[key]
        if not isinstance(value, int | float) or not 0 < value < 1:
            raise _refusal(file, f"has {key}={value!r}, which is not between 0 and 1")


def _refusal(file: Path, reason: str) -> OtherModel:
    return OtherModel(
        f"{file} {reason}; {_WRONG}. {_CURE}, or, if this is one, the scheduler_config.json that "
        "it was published with."
    )


def _either(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
