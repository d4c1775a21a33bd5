"""`batchgen plan`: check everything and count, without making anything."""

from __future__ import annotations

import argparse

from batchgen.cli.compose import Composer
from batchgen.cli.messages import say
from batchgen.cli.points import points_of
from batchgen.errors import BatchgenError, ExitCode
from batchgen.report.forecast import forecast
from batchgen.runner.grid import refuse_job, worst


def plan(options: argparse.Namespace) -> int:
    """Print the plan of a job, or of each point of a grid."""
    composer = Composer(options.config_dir)
    if options.cfg:
        print(composer.yaml(options.overrides), end="")
        return ExitCode.done
    if not options.multirun:
        print("\n".join(forecast(composer.job(options.overrides))))
        return ExitCode.done
    points, codes = points_of(composer, options.overrides)
    for point in points:
        print(f"{point.folder_name}  {point.label}")
        try:
            refuse_job(point.root)
            print("\n".join(f"  {line}" for line in forecast(point.as_job())))
        except BatchgenError as error:
            say(error)
            codes.append(error.exit_code)
    return worst([ExitCode.done, *codes])
