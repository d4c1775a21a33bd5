"""The supported schedulers and all their names; imports no mindone.

Supported are those that repeat exactly for a seed, alone and in a batch. Other well-known names are
refused with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchgen.config.nearest import nearest


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A class of diffusers and what it is built with."""

    label: str
    """The `Sampler` of the `parameters` text, as AUTOMATIC1111's web UI has it where it can."""
    class_name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    """Further names, as `_normal` writes them."""


_EULER, _HEUN = "EulerDiscreteScheduler", "HeunDiscreteScheduler"
_LMS, _UNIPC = "LMSDiscreteScheduler", "UniPCMultistepScheduler"
_KDPM2A = "KDPM2AncestralDiscreteScheduler"
_MULTISTEP, _SINGLESTEP = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
_PLAIN = {"use_karras_sigmas": False}
_KARRAS = {"use_karras_sigmas": True}
_DPMPP = {"algorithm_type": "dpmsolver++"}
_SDE = {"algorithm_type": "sde-dpmsolver++"}
_LATENT = {"clip_sample": False}
"""Latents are not pixels: values outside [-1, 1] must not be clipped."""

SCHEDULERS: dict[str, Scheduler] = {
    "euler": Scheduler("Euler", _EULER, _PLAIN, ("k_euler",)),
    "euler_karras": Scheduler("Euler Karras", _EULER, _KARRAS),
    "euler_ancestral": Scheduler(
        "Euler a", "EulerAncestralDiscreteScheduler", {}, ("euler_a", "k_euler_a")
    ),
    "ddim": Scheduler("DDIM", "DDIMScheduler", _LATENT),
    "pndm": Scheduler("PLMS", "PNDMScheduler", {"skip_prk_steps": True}),
    "lms": Scheduler("LMS", _LMS, _PLAIN, ("k_lms",)),
    "lms_karras": Scheduler("LMS Karras", _LMS, _KARRAS),
    "heun": Scheduler("Heun", _HEUN, _PLAIN | _LATENT, ("k_heun",)),
    "heun_karras": Scheduler("Heun Karras", _HEUN, _KARRAS | _LATENT),
    "dpmpp_2m": Scheduler("DPM++ 2M", _MULTISTEP, _DPMPP | _PLAIN),
    "dpmpp_2m_karras": Scheduler("DPM++ 2M Karras", _MULTISTEP, _DPMPP | _KARRAS),
    "dpmpp_2m_sde": Scheduler("DPM++ 2M SDE", _MULTISTEP, _SDE | _PLAIN),
    "dpmpp_2m_sde_karras": Scheduler("DPM++ 2M SDE Karras", _MULTISTEP, _SDE | _KARRAS),
    "dpmpp_3m": Scheduler("DPM++ 3M", _MULTISTEP, _DPMPP | _PLAIN | {"solver_order": 3}),
    "dpmpp_singlestep": Scheduler("DPM++ 2S", _SINGLESTEP, _DPMPP | _PLAIN),
    "dpmpp_singlestep_karras": Scheduler("DPM++ 2S Karras", _SINGLESTEP, _DPMPP | _KARRAS),
    "kdpm2_ancestral": Scheduler("DPM2 a", _KDPM2A, _PLAIN),
    "kdpm2_ancestral_karras": Scheduler("DPM2 a Karras", _KDPM2A, _KARRAS),
    "unipc": Scheduler("UniPC", _UNIPC, _PLAIN, ("uni_pc",)),
    "unipc_karras": Scheduler("UniPC Karras", _UNIPC, _KARRAS, ("uni_pc_karras",)),
    "lcm": Scheduler("LCM", "LCMScheduler", _LATENT),
    "tcd": Scheduler("TCD", "TCDScheduler", _LATENT),
    "sasolver": Scheduler("SA Solver", "SASolverScheduler", _PLAIN),
}
"""Canonical name to scheduler; of several of one class, the class's name means the first."""

OWN_SPACING = (
    "dpmpp_2m_karras", "dpmpp_2m_sde_karras", "dpmpp_singlestep", "dpmpp_singlestep_karras",
    "unipc_karras", "lcm", "tcd",
)  # fmt: skip
"""Those that spread their steps in a way of their own, whatever `timestep_spacing` says."""

_NO_ZERO_SNR = (
    _HEUN, _LMS, _KDPM2A, _SINGLESTEP, "PNDMScheduler", "SASolverScheduler", _UNIPC,
)  # fmt: skip
"""Classes of MindOne 0.5.0 that do not know `rescale_betas_zero_snr`, and would pass it over; the
last knows it, and fails where it is set, as it changes betas that are not there yet."""

NO_ZERO_SNR = frozenset(
    name for name, scheduler in SCHEDULERS.items() if scheduler.class_name in _NO_ZERO_SNR
)
"""Those that cannot draw with a model whose last timestep is noise alone."""

MOST_STEPS = {"lcm": 50, "tcd": 50}
"""Those that choose among so many steps of a model's training, diffusers' own number."""

CALLED_TWICE = frozenset(
    name for name, scheduler in SCHEDULERS.items() if scheduler.class_name in (_HEUN, _KDPM2A)
)
"""Those that call the UNet twice a step, which `unet_cache` counts as one."""

_NO_REPEAT = "draws noise that does not repeat for a seed; dpmpp_2m_sde_karras does"
_NOT_SDXL = "is not for SDXL's noise schedule"
_UNTRIED = "needs an operator that MindSpore 2.7.1 has on no CPU, so it is untested"
_NAN = "ends in NaN with MindOne 0.5.0; kdpm2_ancestral and heun do not"
_NOT_DIFFUSERS = "is not in diffusers"

REFUSED: dict[str, str] = {
    "DPMSolverSDEScheduler": _NO_REPEAT,
    "DPM++ SDE": _NO_REPEAT,
    "DPM++ SDE Karras": _NO_REPEAT,
    "DEISMultistepScheduler": "fails on MindSpore 2.7.1",
    "DEIS": "fails on MindSpore 2.7.1",
    "DPM++ 2S ancestral": f"{_NOT_DIFFUSERS}; dpmpp_singlestep is close",
    "DPM++ 2S ancestral Karras": f"{_NOT_DIFFUSERS}; dpmpp_singlestep_karras is close",
    "KDPM2DiscreteScheduler": _NAN,
    "dpm_2": _NAN,
    "dpm_2_karras": _NAN,
    "kdpm2": _NAN,
    "kdpm2_karras": _NAN,
    "DPM2": _NAN,
    "DPM2 Karras": _NAN,
    "DDPMScheduler": _UNTRIED,
    "DDPM": _UNTRIED,
    "EDMEulerScheduler": _NOT_SDXL,
    "EDMDPMSolverMultistepScheduler": _NOT_SDXL,
    "CosineDPMSolverMultistepScheduler": _NOT_SDXL,
    "CMStochasticIterativeScheduler": _NOT_SDXL,
    "FlowMatchEulerDiscreteScheduler": _NOT_SDXL,
    "FlowMatchHeunDiscreteScheduler": _NOT_SDXL,
    "FlowMatchLCMScheduler": _NOT_SDXL,
    "DPM++ 2S a": f"{_NOT_DIFFUSERS}; dpmpp_singlestep is close",
    "DPM++ 2S a Karras": f"{_NOT_DIFFUSERS}; dpmpp_singlestep_karras is close",
    "DPM++ 3M SDE": _NOT_DIFFUSERS,
    "DPM++ 3M SDE Karras": _NOT_DIFFUSERS,
    "DPM fast": _NOT_DIFFUSERS,
    "DPM adaptive": _NOT_DIFFUSERS,
    "Restart": _NOT_DIFFUSERS,
}
"""Well-known names, and why each is not supported."""

_ELSEWHERE = {
    "dpm_2_ancestral": "kdpm2_ancestral",
    "dpm_2_a": "kdpm2_ancestral",
    "dpm2_a": "kdpm2_ancestral",
    "dpm2_ancestral": "kdpm2_ancestral",
    "kdpm_2_a": "kdpm2_ancestral",
    "kdpm_2_ancestral": "kdpm2_ancestral",
    "dpmsolverpp": "dpmpp_2m",
    "dpmsingle": "dpmpp_singlestep",
    "uni_pc_bh2": "unipc",
}
"""What ComfyUI, kohya's scripts and InvokeAI call a scheduler, where they mean the same, as
`_normal` writes it; their `k_` and `sample_` in front and InvokeAI's `_k` behind need no line."""


def _normal(name: str) -> str:
    """Return a name in the spelling that all are compared in: `DPM++ 2M` is `dpmpp_2m`.

    What stands between two names, as in `dpmpp_2m + karras` or `DPM++ 2M (Karras)`, is a space.
    """
    return re.sub(r"[\s\-+/,;()]+", "_", name.strip().casefold().replace("++", "pp")).strip("_")


def _known_names() -> dict[str, str]:
    names: dict[str, str] = {}
    for canonical, scheduler in SCHEDULERS.items():
        for name in (canonical, scheduler.label, scheduler.class_name, *scheduler.aliases):
            names.setdefault(_normal(name), canonical)
    return names


_CANONICAL = _known_names()
_REASONS = {_normal(name): reason for name, reason in REFUSED.items()}


def canonical(name: str) -> str:
    """Return the one name of a scheduler that is known by several; a name unknown stays as it is.

    Known are our own names, the classes of diffusers and the labels of AUTOMATIC1111's web UI, in
    any case, with spaces, dashes or underscores, and those of ComfyUI, kohya's scripts and InvokeAI
    where they mean the same; a noise schedule may stand behind, `dpmpp_2m` + `karras`.
    """
    return next((_CANONICAL[one] for one in _spellings(name) if one in _CANONICAL), name)


def _spellings(name: str) -> Iterator[str]:
    """Yield a name as we may know it, the likeliest first."""
    whole = re.sub(r"^(k|sample)_", "", _normal(name))
    whole = re.sub(r"_k$", "_karras", whole)
    base = whole.removesuffix("_karras")
    suffix = whole[len(base) :]
    yield _normal(name)
    yield whole
    yield _ELSEWHERE.get(base, _CANONICAL.get(base, base)) + suffix


def scheduler_problem(name: object) -> str | None:
    """Say why a name is no scheduler on offer, or None for a canonical one."""
    if name in SCHEDULERS:
        return None
    if not isinstance(name, str):
        return f"is not one of {', '.join(SCHEDULERS)}"
    reason = next((_REASONS[one] for one in _spellings(name) if one in _REASONS), None)
    if reason:
        return f"is not offered: it {reason}"
    near = _nearest(_normal(name))
    return f"is not one of {', '.join(SCHEDULERS)}" + (f"; the nearest is {near}" if near else "")


def called_twice_problem(unet_cache: int) -> str:
    """Say why a scheduler of `CALLED_TWICE` cannot draw with a UNet cache, to follow its name."""
    able = ", ".join(name for name in SCHEDULERS if name not in CALLED_TWICE)
    return (
        f"calls the UNet twice a step, and unet_cache={unet_cache} counts calls as steps. Take "
        f"unet_cache=0, or one of {able}."
    )


def _nearest(name: str) -> str | None:
    """Return the scheduler that an unknown name is a variety of, or is spelt most like."""
    known = {**_CANONICAL, **_ELSEWHERE}
    begun = [one for one in known if name.startswith(f"{one}_")]
    near = max(begun, key=len) if begun else nearest(name, known)
    return known.get(near or "")
