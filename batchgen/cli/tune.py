"""`batchgen tune`: the best batch size of the device at hand, found by trying."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence

from batchgen.cli.compose import Composer
from batchgen.config.decimals import size_text
from batchgen.errors import ExitCode, ImageError
from batchgen.runner.tuning import Trial, best, tuned


def tune(options: argparse.Namespace) -> int:
    """Print what each batch size came to, with the best marked; 3 where a batch failed."""
    trials = []
    try:
        for trial in tuned(Composer(options.config_dir).job(options.overrides)):
            rate = f"{trial.images_per_minute:.1f} images a minute"
            print(f"batch_size={trial.batch_size}: {rate}", file=sys.stderr, flush=True)
            trials.append(trial)
    except ImageError as error:
        print(f"batchgen: a batch failed, so there is nothing to tell: {error}", file=sys.stderr)
        return ExitCode.not_all_well
    trials.sort(key=lambda trial: trial.batch_size)
    chosen = best(trials)
    if options.json:
        found = [dataclasses.asdict(trial) | {"is_best": trial is chosen} for trial in trials]
        print(json.dumps(found))
    else:
        print("\n".join(_table(trials, chosen)))
    return ExitCode.done


def _table(trials: Sequence[Trial], chosen: Trial) -> Iterator[str]:
    """Yield a line for each trial, and what to do with the best."""
    heads = ("batch_size", "images/min", "memory", "encode s", "denoise s", "decode s", "first s")
    yield "".join(f"{head:>12}" for head in heads)
    for one in trials:
        seconds = (one.encode_s, one.denoise_s, one.decode_s, one.first_batch_s)
        yield (
            f"{one.batch_size:12}{one.images_per_minute:12.1f}"
            f"{size_text(one.peak_memory_bytes):>12}"
            f"{''.join(f'{part:12.2f}' for part in seconds)}"
            f"{'  best' if one is chosen else ''}"
        )
    yield (
        f"batch_size={chosen.batch_size} is the smallest within 2 % of the highest rate; seconds "
        "are those of a batch, of the first apart."
    )
    yield "batch_size is part of a job's identity: choose it before the first start."
