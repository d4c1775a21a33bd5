"""How much a job takes beyond its images: the loop of `batchgen`, and one that saves in line.

    python benchmarks/overhead.py [--images 60] [--latency 0.2]

The fake model takes `latency` seconds an image, making its 1024 x 1024 pixels included. Printed is
the time of each loop over the sum of the latencies; both run in this process, in turn, three times,
and the median counts. The claim is at most 1.03 for batchgen.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from pathlib import Path

import batchgen
from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.job import ImagesConfig
from batchgen.config.models import FakeModel
from batchgen.config.settings import Settings
from batchgen.images import image_file
from batchgen.images.parameters import parameters_text
from batchgen.pipelines.factory import load
from batchgen.plan.requests import ImageRequest

SIZE = 1024


def in_line(folder: Path, n_images: int, latency_s: float) -> float:
    """Generate, save, write a row; the next image waits. Returns seconds."""
    model = FakeModel(latency_s=latency_s)
    pipeline = load(model, DeviceConfig(), DeviceKind.cpu)
    started = time.perf_counter()
    with (folder / "metadata.csv").open("w") as file:
        writer = csv.writer(file)
        for row in range(n_images):
            settings = Settings(
                prompt=f"prompt {row}", prompt_2=None, seed=row, width=SIZE, height=SIZE
            )
            image = ImageRequest(str(row), row, 0, settings, "", row, True, {})
            picture = pipeline.generate([image]).pictures[0]
            text = parameters_text(settings, "fake", "fake-1")
            saved = image_file.save(folder / f"{row}.png", picture.pixels, text, ImagesConfig())
            writer.writerow([row, settings.prompt, saved.file_sha256])
    return time.perf_counter() - started


def with_batchgen(folder: Path, n_images: int, latency_s: float) -> float:
    """Run the same as a job, table, journal and compaction included. Returns seconds."""
    table = folder / "prompts.txt"
    table.write_text("".join(f"prompt {row}\n" for row in range(n_images)))
    started = time.perf_counter()
    result = batchgen.run(
        table=str(table), output_root=str(folder), model=FakeModel(latency_s=latency_s)
    )
    if result.n_made != n_images:
        raise RuntimeError(result.message)
    return time.perf_counter() - started


def main() -> None:
    """Print both ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--latency", type=float, default=0.2)
    options = parser.parse_args()
    least_s = options.images * options.latency
    loops = {"batchgen": with_batchgen, "saving in line": in_line}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(3):
        for name, loop in loops.items():
            with tempfile.TemporaryDirectory() as folder:
                seconds[name].append(loop(Path(folder), options.images, options.latency))
    for name, values in seconds.items():
        print(f"{name:15} {statistics.median(values) / least_s:.3f} of the images' own time")


if __name__ == "__main__":
    main()
