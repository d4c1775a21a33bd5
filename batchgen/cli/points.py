"""The points of a grid, from the command line."""

from __future__ import annotations

from collections.abc import Sequence

from batchgen.cli.compose import Composer, swept_keys
from batchgen.cli.messages import say
from batchgen.errors import ConfigError, ExitCode
from batchgen.runner.grid import Point


def points_of(composer: Composer, overrides: Sequence[str]) -> tuple[list[Point], list[ExitCode]]:
    """Return the valid points of a grid, and an exit code for each that is not."""
    swept = set(swept_keys(overrides))
    points: list[Point] = []
    codes: list[ExitCode] = []
    for lines in composer.grid(overrides):
        label = {key: value for key, _, value in (line.partition("=") for line in lines)}
        label = {key: value for key, value in label.items() if key in swept}
        try:
            points.append(Point(label, composer.job(lines)))
        except ConfigError as error:
            say(error)
            codes.append(error.exit_code)
    return points, codes
