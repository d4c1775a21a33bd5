"""The points of a grid, from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batchgen.cli.compose import Composer
from batchgen.cli.messages import say
from batchgen.cli.overrides import parse, written
from batchgen.config.job import JobConfig
from batchgen.errors import ConfigError, ExitCode
from batchgen.runner.grid import Point, Twins


def points_of(composer: Composer, overrides: Sequence[str]) -> tuple[list[Point], list[ExitCode]]:
    """Return the valid points of a grid, and an exit code for each that is not."""
    swept = set(composer.swept_keys(overrides))
    points: list[Point] = []
    codes: list[ExitCode] = []
    twins: dict[Path, Twins] = {}
    for lines in composer.grid(overrides):
        try:
            point = _point(composer, lines, swept)
            if point.root not in twins:
                twins[point.root] = Twins(point.root)
            points.append(_as_before(composer, lines, point, twins[point.root]))
        except ConfigError as error:
            say(error)
            codes.append(error.exit_code)
    return points, codes


def _point(composer: Composer, lines: Sequence[str], swept: set[str]) -> Point:
    config = composer.job(lines)
    values = {one.key: one.value for one in parse(lines) if one.key in swept}
    return Point({key: _number_in(config, key, value) for key, value in values.items()}, config)


def _number_in(config: JobConfig, key: str, value: Any) -> Any:
    """Return a value as the number that the config made of it, where it is one."""
    found: Any = config
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else getattr(found, name, None)
    is_number = isinstance(found, (bool, int, float))
    return found if is_number and isinstance(value, str) else value


def _as_before(composer: Composer, lines: Sequence[str], point: Point, twins: Twins) -> Point:
    """Return a point under the values that it has in an older sweep.parquet.

    There 0.3 may stand as 0.30000000000000004, and its folder is named after that.
    """
    twin = twins.of(point)
    if twin is None:
        return point
    values = {key: twin[key] for key in point.overrides if isinstance(twin.get(key), float)}
    old_lines = [line for line in lines if line.lstrip("+").partition("=")[0] not in values]
    old_lines += [written(key, value) for key, value in values.items()]
    before = Point({**point.overrides, **values}, composer.job(old_lines))
    return before if before.folder_name == twin["folder"] else point
