"""The shipped pipeline against PyTorch's diffusers; needs torch and diffusers beside the rest.

The UNet cache against that of its authors, if their package `DeepCache` is there, too.

PyTorch runs in a process of its own: both frameworks bring OpenMP pools of their own.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.models import DemoModel
from batchgen.config.settings import Settings
from batchgen.model.weights import DEMO_FOLDER

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("diffusers") is None,
    reason="compares with PyTorch's diffusers, which is not installed",
)

REFERENCE = """
import sys
import numpy as np
import torch
from diffusers import {scheduler}, StableDiffusionXLPipeline

folder, noise, out, every = sys.argv[1:]
pipe = StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
pipe.scheduler = {scheduler}.from_config(pipe.scheduler.config, **{options})
if int(every):
    from DeepCache import DeepCacheSDHelper
    cache = DeepCacheSDHelper(pipe=pipe)
    cache.set_params(cache_interval=int(every), cache_branch_id=0)
    cache.enable()
images = pipe(
    "a red star above a blue circle", negative_prompt="green", num_inference_steps=20,
    guidance_scale=7.5, latents=torch.from_numpy(np.load(noise)), output_type="np",
).images
np.save(out, images)
"""


def agreement(
    tmp_path: Path, name: str, scheduler: str, options: dict[str, object], every: int = 0
) -> float:
    """Return the PSNR of a picture to that of diffusers, in dB.

    Same weights, same noise, 20 steps, guidance 7.5; `every` as `unet_cache`.
    """
    from batchgen.pipelines.base import PLAIN
    from batchgen.pipelines.mindspore.sdxl import SdxlPipeline

    pipeline = SdxlPipeline(DemoModel(), DeviceConfig(), DeviceKind.cpu)
    settings = [
        Settings(
            prompt="a red star above a blue circle",
            prompt_2=None,
            negative_prompt="green",
            seed=7,
            width=128,
            height=128,
            scheduler=name,
            unet_cache=every,
        )
    ]
    latents = pipeline._latents(settings, [pipeline.prompts.prompt(settings[0])])
    ours, _ = pipeline._floats(latents, PLAIN)

    noise = np.random.default_rng(7).standard_normal((1, 4, 16, 16)).astype(np.float32)
    np.save(tmp_path / "noise.npy", noise)
    script = REFERENCE.format(scheduler=scheduler, options=options)
    files = [str(DEMO_FOLDER), str(tmp_path / "noise.npy"), str(tmp_path / "out.npy")]
    environment = os.environ | {"USE_TF": "0", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", script, *files, str(every)]
    subprocess.run(command, check=True, env=environment)
    theirs = np.load(tmp_path / "out.npy")
    error = float(np.mean((ours.astype(np.float64) - theirs) ** 2))
    return 10 * np.log10(1 / error) if error else np.inf


@pytest.mark.parametrize(
    ("name", "scheduler", "options"),
    [
        ("euler", "EulerDiscreteScheduler", {}),
        ("dpmpp_2m_karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    ],
)
def test_pictures_are_those_of_diffusers(
    tmp_path: Path, name: str, scheduler: str, options: dict[str, object]
) -> None:
    """Same weights, same noise, 20 steps, guidance 7.5: alike but for the last bits."""
    psnr = agreement(tmp_path, name, scheduler, options)
    print(f"{name}: {psnr:.1f} dB")  # noqa: T201 - docs/performance.md has it
    assert psnr >= 110, f"{name}: {psnr:.1f} dB"


@pytest.mark.skipif(
    importlib.util.find_spec("DeepCache") is None,
    reason="compares with the authors' package DeepCache, which is not installed",
)
@pytest.mark.parametrize(
    ("name", "scheduler"),
    [("euler", "EulerDiscreteScheduler"), ("dpmpp_2m", "DPMSolverMultistepScheduler")],
)
def test_cached_pictures_are_those_of_deepcache(tmp_path: Path, name: str, scheduler: str) -> None:
    """The deep blocks on every third step, branch 0: alike but for the last bits."""
    psnr = agreement(tmp_path, name, scheduler, {}, every=3)
    print(f"{name}, unet_cache=3: {psnr:.1f} dB")  # noqa: T201 - docs/performance.md has it
    assert psnr >= 60, f"{name}: {psnr:.1f} dB"
