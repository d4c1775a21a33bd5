"""How long one picture of the demo model takes: 20 steps with guidance, on this machine's CPU.

    python benchmarks/picture.py

Prints the median of five pictures after one to warm up; the wish was less than 10 s on two cores.
"""

from __future__ import annotations

import statistics
import sys

from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.models import DemoModel
from batchgen.config.settings import Settings
from batchgen.pipelines.factory import load
from batchgen.plan.requests import ImageRequest

WANTED_S = 10.0


def main() -> int:
    """Draw, time, and say whether it was fast enough."""
    pipeline = load(DemoModel(), DeviceConfig(), DeviceKind.cpu)
    times = []
    for seed in range(6):
        prompt = "a large red circle on a white background"
        settings = Settings(prompt=prompt, prompt_2=None, seed=seed, width=128, height=128)
        image = ImageRequest(
            str(seed), seed, 0, settings, "0" * 16, seed, is_pending=True, carried={}
        )
        made = pipeline.generate([image])
        times.append(made.encode_s + made.denoise_s + made.decode_s)
    median = statistics.median(times[1:])
    print(
        f"a picture of 20 steps: {median:.2f} s "
        f"({min(times[1:]):.2f} to {max(times[1:]):.2f}), wanted below {WANTED_S:.0f} s"
    )
    return 0 if median < WANTED_S else 1


if __name__ == "__main__":
    sys.exit(main())
