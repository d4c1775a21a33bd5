"""`batchgen run`: make the images of a table, or go on making them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing

from batchgen.cli.compose import Composer
from batchgen.cli.messages import say
from batchgen.cli.points import points_of
from batchgen.errors import BatchgenError, ConfigError, ExitCode
from batchgen.executors.choice import executor_of
from batchgen.runner.grid import record_points, worst
from batchgen.runner.start import run_job
from batchgen.runner.stopping import Stop


def run(options: argparse.Namespace) -> int:
    """Make the images of a table, or those of every point of a grid."""
    composer = Composer(options.config_dir)
    if options.cfg:
        points = composer.grid(options.overrides) if options.multirun else [options.overrides]
        print("---\n".join(composer.yaml(lines) for lines in points), end="")
        return ExitCode.done
    if options.multirun:
        return _run_grid(composer, options.overrides)
    config = composer.job(options.overrides)
    stop, executor = Stop(config.stop.max_hours), executor_of(config.executor)
    with stop.on_signals(), closing(executor):
        result = run_job(config, executor, stop)
    print(f"{result.folder}: {result.message}")
    return result.exit_code


def _run_grid(composer: Composer, overrides: Sequence[str]) -> int:
    points, codes = points_of(composer, overrides)
    if any(point.config.executor != points[0].config.executor for point in points):
        raise ConfigError(["executor cannot be swept: all points of a grid have the same workers."])
    for root in {point.root for point in points}:
        record_points(root, [point for point in points if point.root == root])
    if not points:
        return worst(codes)
    stop = Stop(points[0].config.stop.max_hours)
    executor = executor_of(points[0].config.executor)
    with stop.on_signals(), closing(executor):
        for number, point in enumerate(points, start=1):
            print(f"[{number}/{len(points)}] {point.label}", flush=True)
            try:
                result = run_job(point.as_job(), executor, stop)
            except BatchgenError as error:
                say(error)
                codes.append(error.exit_code)
            else:
                print(f"{result.folder}: {result.message}", flush=True)
                codes.append(result.exit_code)
            if stop.reason is not None:
                codes.append(ExitCode.stopped)
                break
    return worst(codes)
