"""The demo model under batchgen beside a bare loop over the same pipeline, in one run.

    python benchmarks/pipeline.py [--prompts 8] [--seeds 16] [--steps 10]

The bare loop calls `mindone.diffusers.StableDiffusionXLPipeline` once an image, as its examples
do, on the same core, and saves a PNG. First different prompts, then one prompt with many seeds,
where batchgen keeps the text embeddings. Below 1 batchgen is faster.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from batchgen.config.job import JobConfig
from batchgen.config.models import DemoModel
from batchgen.config.sampling import SamplingConfig
from batchgen.executors.local import LocalExecutor
from batchgen.pipelines.mindspore.sdxl import SdxlPipeline
from batchgen.runner.identity import Job
from batchgen.runner.start import run_job
from batchgen.runner.stopping import Stop

REPEATS = 3


def bare(
    pipe: Any, folder: Path, prompts: Sequence[str], seeds: Sequence[int], steps: int
) -> float:
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


def config(folder: Path, prompts: Sequence[str], seeds: Sequence[int], steps: int) -> JobConfig:
    """Write the same images as a table and return their job."""
    table = folder / "table.csv"
    rows = [f'"{prompt}",{seed}\n' for prompt, seed in zip(prompts, seeds, strict=True)]
    table.write_text("prompt,seed\n" + "".join(rows))
    sampling = SamplingConfig(steps=steps)
    return JobConfig(
        table=str(table), output_root=str(folder), model=DemoModel(), sampling=sampling
    )


def with_batchgen(executor: LocalExecutor, of: JobConfig) -> float:
    """Run a job from its table to its metadata. Returns seconds."""
    started = time.perf_counter()
    result = run_job(of, executor, Stop(None))
    seconds = time.perf_counter() - started
    if result.n_left or result.n_failed:
        raise RuntimeError(result.message)
    return seconds


def ratio(
    executor: LocalExecutor, prompts: Sequence[str], seeds: Sequence[int], steps: int
) -> float:
    """Return batchgen's seconds over the bare loop's, each after a first image of its own."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        job = config(folder, prompts, seeds, steps)
        pipeline = executor.cache.get(Job.identify(job))
        if not isinstance(pipeline, SdxlPipeline):
            raise TypeError("the demo model is an SDXL")
        bare(pipeline.pipe, folder, ["warm up"], [0], 2)
        ours = with_batchgen(executor, job)
        with pipeline.at_work():
            return ours / bare(pipeline.pipe, folder, prompts, seeds, steps)


def main() -> None:
    """Print both ratios, each the median of three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    executor = LocalExecutor()
    different, same = [], []
    for repeat in range(REPEATS):
        prompts = [f"a drawing of {n} cats, {repeat}" for n in range(options.prompts)]
        different.append(ratio(executor, prompts, range(options.prompts), options.steps))
        prompts = [f"a lighthouse at dusk, {repeat}"] * options.seeds
        same.append(ratio(executor, prompts, range(options.seeds), options.steps))
    executor.close()
    print("seconds of batchgen over those of the bare loop:")
    for name, ratios in (("different prompts", different), ("one prompt, many seeds", same)):
        print(f"{name:24} {statistics.median(ratios):.3f}  (all: {sorted(ratios)})")


if __name__ == "__main__":
    main()
