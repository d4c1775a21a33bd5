"""`batchgen plan`: check everything and count, without making anything."""

from __future__ import annotations

import argparse
import sys

from batchgen.cli.compose import Composer
from batchgen.cli.messages import say
from batchgen.cli.points import points_of
from batchgen.errors import BatchgenError, ExitCode
from batchgen.report.forecast import Forecast, forecast, grid_lines
from batchgen.runner.grid import refuse_job, worst


def plan(options: argparse.Namespace) -> int:
    """Print the plan of a job, or of each point of a grid."""
    composer = Composer(options.config_dir)
    if options.cfg:
        print(composer.yaml(options.overrides), end="")
        return ExitCode.done
    if not options.multirun:
        job = composer.job(options.overrides)
        print("\n".join(forecast(job, preset=composer.preset(options.overrides))))
        return ExitCode.done
    points, codes = points_of(composer, options.overrides)
    swept = composer.swept_keys(options.overrides)
    plans: dict[str, Forecast] = {}
    for point in points:
        name = f"{point.folder_name}  {point.label}"
        try:
            refuse_job(point.root)
            plans[name] = forecast(point.as_job(), swept)
        except BatchgenError as error:
            print(name, file=sys.stderr)
            say(error)
            codes.append(error.exit_code)
    if plans:
        print("\n".join(grid_lines(plans)))
    return worst([ExitCode.done, *codes])
