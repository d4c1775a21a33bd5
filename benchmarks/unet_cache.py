"""What `sampling.unet_cache` gains, and what it costs in pictures, on this machine's CPU.

    python benchmarks/unet_cache.py [--scenes 200] [--steps 20 50]
    python benchmarks/unet_cache.py --full-size

The first draws scenes that the demo model was not trained on, without a cache and with one, and
prints the time, the share of scenes that are all right (as tools/train_demo judges them) and the
PSNR to the pictures without. The second runs the UNet of SDXL with random weights, 6 steps of a
picture of 256 x 256 with guidance: time and peak memory with a cache over those without. It wants
12 GiB of memory and some minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.models import DemoModel
from batchgen.config.settings import Settings
from batchgen.pipelines.base import Pipeline
from batchgen.pipelines.factory import load
from batchgen.plan.requests import ImageRequest

sys.path.insert(0, str(Path(__file__).parents[1]))
from tools.train_demo.evaluate import held_out
from tools.train_demo.looking import marks

BATCH = 4
EVERY = (2, 3, 5)
STEPS, SIDE = 6, 256
WANTED_TIME, WANTED_MEMORY = 0.55, 1.05


def drawn(pipeline: Pipeline, prompts: list[str], **to: Any) -> tuple[NDArray[np.uint8], float]:
    """Draw a picture of each prompt; return them and the seconds of denoising."""
    pictures: list[NDArray[np.uint8]] = []
    seconds = 0.0
    for first in range(0, len(prompts), BATCH):
        images = [
            ImageRequest(str(n), n, 0, settings(prompt, n, to), "0" * 16, n, True, {})
            for n, prompt in enumerate(prompts[first : first + BATCH], first)
        ]
        made = pipeline.generate(images)
        pictures += [picture.pixels for picture in made.pictures]
        seconds += made.denoise_s
    return np.stack(pictures), seconds


def settings(prompt: str, seed: int, to: dict[str, Any]) -> Settings:
    """Return those of the demo model's evaluation, but for what is changed."""
    plain = Settings(prompt=prompt, prompt_2=None, seed=seed, width=128, height=128)
    return dataclasses.replace(plain, **{"guidance_scale": 5.0, **to})


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return that of two pictures in dB; of equal ones, that of a difference in the last bit."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1.0 / one.size)))


def of_demo(n_scenes: int, steps: list[int]) -> None:
    """Print a line for each number of steps and each cache."""
    scenes = held_out(n_scenes)
    prompts = [scene.words for scene in scenes]
    pipeline = load(DemoModel(), DeviceConfig(), DeviceKind.cpu)
    drawn(pipeline, prompts[:BATCH], steps=2)  # to warm up
    print(f"{len(scenes)} scenes   all right   median PSNR   worst PSNR   time")
    for n_steps in steps:
        plain, plain_s = drawn(pipeline, prompts, steps=n_steps)
        for every in (0, *EVERY):
            made, seconds = (
                drawn(pipeline, prompts, steps=n_steps, unet_cache=every)
                if every
                else (plain, plain_s)
            )
            pairs = zip(made, scenes, strict=True)
            right = np.mean([marks(pixels, scene).all_right for pixels, scene in pairs])
            near = [psnr(one, other) for one, other in zip(made, plain, strict=True)]
            figures = f"{statistics.median(near):8.1f} dB   {min(near):7.1f} dB" if every else ""
            print(
                f"{n_steps} steps, n={every}   {100 * right:8.1f} %   {figures:24}   "
                f"{seconds / plain_s:.2f}",
                flush=True,
            )


def of_full_size() -> int:
    """Print time and memory of SDXL's own UNet; return 1 where they are not as wanted."""
    from batchgen.pipelines.mindspore.loading import import_mindone
    from batchgen.pipelines.mindspore.machine import Machine
    from batchgen.pipelines.mindspore.unet_cache import CachedUnet

    machine = Machine(DeviceConfig(), DeviceKind.cpu)
    import_mindone()
    from full_size import UNET
    from mindone.diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_config(UNET)
    unet.set_train(False)
    calls = list(inputs(machine.ms))
    unet(*calls[0][0], **calls[0][1])  # to warm up
    taken = []
    for every in (0, 3):
        machine.reset_peak_memory()
        started = time.perf_counter()
        called: Any = CachedUnet(unet, every, 0) if every else unet
        for given, named in calls:
            called(*given, **named)[0].asnumpy()
        taken.append((time.perf_counter() - started, machine.peak_memory_bytes()))
        print(f"n={every}: {taken[-1][0]:.1f} s, {taken[-1][1] / 2**30:.2f} GiB", flush=True)
    (plain_s, plain_bytes), (cached_s, cached_bytes) = taken
    shares = cached_s / plain_s, cached_bytes / plain_bytes
    print(
        f"{STEPS} steps with n=3 over those without: time {shares[0]:.3f}, wanted {WANTED_TIME} at "
        f"most; peak memory {shares[1]:.3f}, wanted {WANTED_MEMORY} at most"
    )
    return int(shares[0] > WANTED_TIME or shares[1] > WANTED_MEMORY)


def inputs(ms: Any) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Yield what a picture with guidance gives to the UNet, step by step."""
    random = np.random.default_rng(0)

    def noise(*shape: int) -> Any:
        return ms.tensor(random.standard_normal(shape).astype(np.float32))

    for step in range(STEPS):
        sample, text = noise(2, 4, SIDE // 8, SIDE // 8), noise(2, 77, 2048)
        added = {"text_embeds": noise(2, 1280), "time_ids": noise(2, 6)}
        yield (
            (sample, ms.tensor(900 - 100 * step), text),
            {"added_cond_kwargs": added, "return_dict": False},
        )


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 50])
    parser.add_argument("--full-size", action="store_true")
    options = parser.parse_args()
    if options.full_size:
        return of_full_size()
    of_demo(options.scenes, options.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
