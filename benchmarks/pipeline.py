"""The demo model under batchgen beside a bare loop over the same pipeline, in one run.

    python benchmarks/pipeline.py [--prompts 8] [--seeds 16] [--steps 10]

The bare loop calls `mindone.diffusers.StableDiffusionXLPipeline` once an image, as its examples
do, and saves a PNG. First different prompts, then one prompt with many seeds, where batchgen keeps
the text embeddings. Each loop makes one image before it is timed. Below 1 batchgen is faster.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from batchgen.config import DemoModel, DeviceKind, JobConfig, SamplingConfig
from batchgen.pipelines.sdxl import SdxlPipeline
from batchgen.runner import PipelineCache, run_job
from batchgen.stopping import Stop


def bare(pipe: Any, folder: Path, prompts: Sequence[str], seeds: Sequence[int], steps: int) -> float:
    """Call the pipeline once for each prompt and seed. Returns seconds."""
    started = time.perf_counter()
    for index, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        generator = np.random.default_rng(seed)
        picture = pipe(
            prompt, num_inference_steps=steps, guidance_scale=7.5, width=128, height=128,
            generator=generator,
        )[0][0]  # fmt: skip
        picture.save(folder / f"{index}.png")
    return time.perf_counter() - started


def job(
    cache: PipelineCache, folder: Path, prompts: Sequence[str], seeds: Sequence[int], steps: int
) -> float:
    """Make the same images as a job. Returns seconds."""
    table = folder / "table.csv"
    rows = [f'"{prompt}",{seed}\n' for prompt, seed in zip(prompts, seeds, strict=True)]
    table.write_text("prompt,seed\n" + "".join(rows))
    config = JobConfig(
        table=str(table),
        output_root=str(folder),
        model=DemoModel(),
        sampling=SamplingConfig(steps=steps),
    )
    started = time.perf_counter()
    result = run_job(config, cache, Stop(None))
    seconds = time.perf_counter() - started
    if result.n_made != len(prompts):
        raise RuntimeError(result.message)
    return seconds


def main() -> None:
    """Print both ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    cases = {
        "different prompts": (
            [f"a drawing of {n} cats" for n in range(options.prompts)],
            list(range(options.prompts)),
        ),
        "one prompt, many seeds": (["a lighthouse at dusk"] * options.seeds, range(options.seeds)),
    }
    cache = PipelineCache()
    with tempfile.TemporaryDirectory() as folder:
        job(cache, Path(folder), ["warm up"], [0], 2)
        pipeline: Any = cache.pipeline
        assert isinstance(pipeline, SdxlPipeline)
        bare(pipeline.pipe, Path(folder), ["warm up"], [0], 2)
    for name, (prompts, seeds) in cases.items():
        ratios = []
        for _ in range(3):
            with tempfile.TemporaryDirectory() as folder:
                pipeline.forget_embeddings()
                seconds = job(cache, Path(folder), prompts, seeds, options.steps)
                ratios.append(seconds / bare(pipeline.pipe, Path(folder), prompts, seeds, options.steps))
        print(f"{name:24} batchgen / bare loop: {sorted(ratios)[1]:.3f}")
    cache.close()


if __name__ == "__main__":
    main()
