"""The schedulers of `config.SCHEDULERS`, each as a class of mindone and what it is built with."""

from __future__ import annotations

from typing import Any

_DPMPP = {"algorithm_type": "dpmsolver++", "use_karras_sigmas": False}
_SDE = {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": False}
_LATENT = {"clip_sample": False}
"""Latents are no pixels: what lies outside [-1, 1] must not be cut off."""

CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {"use_karras_sigmas": False}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "ddim": ("DDIMScheduler", _LATENT),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "lms": ("LMSDiscreteScheduler", {"use_karras_sigmas": False}),
    "heun": ("HeunDiscreteScheduler", {"use_karras_sigmas": False, "clip_sample": False}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", _DPMPP),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", _DPMPP | {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", _SDE),
    "dpmpp_2m_sde_karras": ("DPMSolverMultistepScheduler", _SDE | {"use_karras_sigmas": True}),
    "dpmpp_singlestep": ("DPMSolverSinglestepScheduler", _DPMPP),
    "kdpm2_ancestral": ("KDPM2AncestralDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", _LATENT),
    "tcd": ("TCDScheduler", _LATENT),
    "sasolver": ("SASolverScheduler", {}),
}


def scheduler(name: str, model_config: Any) -> Any:
    """A new scheduler for one call: they keep state between steps, which must not leak on.

    `model_config` is that of the scheduler the model came with; its noise schedule and its
    timestep spacing hold for all of them.
    """
    from mindone.diffusers import schedulers

    class_name, options = CLASSES[name]
    return getattr(schedulers, class_name).from_config(model_config, **options)
