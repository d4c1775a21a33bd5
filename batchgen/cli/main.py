"""The commands. Arguments in, exit code out; errors of the user are sentences, not tracebacks."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from tqdm import tqdm

from batchgen.cli.arguments import parser
from batchgen.errors import BatchgenError, ConfigError, FolderError, Refused, Stopped

if TYPE_CHECKING:
    from batchgen.cli.compose import Composer
    from batchgen.runner.grid import Point

_NOT_ALL_WELL = 3


class _TerminalHandler(logging.Handler):
    """Shows warnings without breaking the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    commands = parser()
    options, rest = commands.parse_known_args(arguments)
    if rest and (rest[0].startswith("-") or "overrides" not in options):
        commands.error(f"{rest[0]} is not understood; see batchgen {options.name} --help")
    if rest:
        options.overrides += rest
    handler = _TerminalHandler(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    root = logging.getLogger("batchgen")
    root.addHandler(handler)
    try:
        return COMMANDS[options.name](options)
    except BatchgenError as error:
        _say(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("batchgen: interrupted; what is committed is safe", file=sys.stderr)
        return Stopped.exit_code
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        root.removeHandler(handler)


def _say(error: BatchgenError) -> None:
    lines = str(error).splitlines() or [type(error).__name__]
    print("\n".join(f"batchgen: {line}" for line in lines), file=sys.stderr)


def _run(options: argparse.Namespace) -> int:
    from batchgen.cli.compose import Composer
    from batchgen.runner.start import PipelineCache, run_job
    from batchgen.runner.stopping import Stop

    composer = Composer(options.config_dir)
    if options.cfg:
        print(composer.yaml(options.overrides), end="")
        return 0
    if options.multirun:
        return _run_grid(composer, options.overrides)
    config = composer.job(options.overrides)
    stop, cache = Stop(config.stop.max_hours), PipelineCache()
    with stop.on_signals(), closing(cache):
        result = run_job(config, cache, stop)
    print(f"{result.folder}: {result.message}")
    return result.exit_code


def _run_grid(composer: Composer, overrides: Sequence[str]) -> int:
    from batchgen.runner.grid import record_points, worst
    from batchgen.runner.start import PipelineCache, run_job
    from batchgen.runner.stopping import Stop

    points, codes = _points(composer, overrides)
    for root in {point.root for point in points}:
        record_points(root, [point for point in points if point.root == root])
    stop, cache = Stop(points[0].config.stop.max_hours if points else None), PipelineCache()
    with stop.on_signals(), closing(cache):
        for number, point in enumerate(points, start=1):
            print(f"[{number}/{len(points)}] {point.label}", flush=True)
            try:
                result = run_job(point.as_job(), cache, stop)
            except BatchgenError as error:
                _say(error)
                codes.append(error.exit_code)
            else:
                print(f"{result.folder}: {result.message}", flush=True)
                codes.append(result.exit_code)
            if stop.reason is not None:
                codes.append(Stopped.exit_code)
                break
    return worst(codes)


def _points(composer: Composer, overrides: Sequence[str]) -> tuple[list[Point], list[int]]:
    """Return the valid points of a grid, and an exit code for each that is not."""
    from batchgen.cli.compose import swept_keys
    from batchgen.runner.grid import Point

    swept = set(swept_keys(overrides))
    points, codes = [], []
    for lines in composer.grid(overrides):
        label = {key: value for key, _, value in (line.partition("=") for line in lines)}
        label = {key: value for key, value in label.items() if key in swept}
        try:
            points.append(Point(label, composer.job(lines)))
        except ConfigError as error:
            _say(error)
            codes.append(error.exit_code)
    return points, codes


def _plan(options: argparse.Namespace) -> int:
    from batchgen.cli.compose import Composer
    from batchgen.report.forecast import forecast
    from batchgen.runner.grid import refuse_job, worst

    composer = Composer(options.config_dir)
    if options.cfg:
        print(composer.yaml(options.overrides), end="")
        return 0
    if not options.multirun:
        print("\n".join(forecast(composer.job(options.overrides))))
        return 0
    points, codes = _points(composer, options.overrides)
    for point in points:
        print(f"{point.folder_name}  {point.label}")
        try:
            refuse_job(point.root)
            print("\n".join(f"  {line}" for line in forecast(point.as_job())))
        except BatchgenError as error:
            _say(error)
            codes.append(error.exit_code)
    return worst([0, *codes])


def _status(options: argparse.Namespace) -> int:
    from batchgen.report.status import overview

    for line in overview(options.folder):
        print(line)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from batchgen.ledger.verification import repair, verify
    from batchgen.storage.folder import JobFolder

    findings = (repair if options.repair else verify)(JobFolder(options.folder))
    for line in findings.lines():
        print(line)
    if options.repair and not findings.is_clean:
        print("repaired; start the job again to make what is missing")
        return 0
    return 0 if findings.is_clean else _NOT_ALL_WELL


def _report(options: argparse.Namespace) -> int:
    from batchgen.report.contact_sheets import contact_sheets
    from batchgen.runner.grid import worst
    from batchgen.storage.folder import jobs_in

    codes = [0]
    for job in jobs_in(options.folder):
        try:
            for path in contact_sheets(job, columns=options.columns, font=options.font):
                print(path, flush=True)
        except FolderError as error:
            _say(error)
            codes.append(error.exit_code)
    return worst(codes)


def _repro(options: argparse.Namespace) -> int:
    from batchgen.runner.reproduction import original_in_job, original_of_file, reproduce
    from batchgen.storage.folder import JobFolder

    if options.path.is_dir() and options.row is None:
        raise ConfigError([f"{options.path} is a folder: say which image, --row KEY."])
    original = (
        original_in_job(JobFolder(options.path), options.row, options.image)
        if options.path.is_dir()
        else original_of_file(options.path)
    )
    comparison = reproduce(original)
    for line in comparison.lines:
        print(line)
    return 0 if comparison.is_same else _NOT_ALL_WELL


def _doctor(options: argparse.Namespace) -> int:
    if options.log is not None:
        return _read_log(options)
    from batchgen.cli.compose import Composer
    from batchgen.doctor.examination import examine, has_failed, summary

    # As for a download: any path passes for the table, none is opened.
    checks = []
    for check in examine(Composer(options.config_dir).job(["table=none.csv", *options.overrides])):
        checks.append(check)
        if not options.json:
            print("\n".join(check.lines()), flush=True)
    print(json.dumps([check.as_json() for check in checks]) if options.json else summary(checks))
    return Refused.exit_code if has_failed(checks) else 0


def _read_log(options: argparse.Namespace) -> int:
    from batchgen.doctor import crash_log

    if options.overrides:
        raise ConfigError([f"{options.overrides[0]}: --log reads a log and takes no settings."])
    found = crash_log.sightings(options.log)
    lines = [crash_log.as_json(found)] if options.json else crash_log.report(found)
    print("\n".join(lines))
    return _NOT_ALL_WELL if found else 0


def _download(options: argparse.Namespace) -> int:
    from batchgen.cli.compose import Composer
    from batchgen.hub.download import download, listing, orders

    # A download needs no table; any path passes, none is opened.
    config = Composer(options.config_dir).job(["table=none.csv", *options.overrides])
    for wanted in orders(config.model, config.adapters, options.source, print):
        if options.dry_run:
            print("\n".join(listing(wanted)))
        else:
            print(f"{wanted.hub.name}:", flush=True)
            print(download(wanted, print), flush=True)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "plan": _plan,
    "download": _download,
    "doctor": _doctor,
    "status": _status,
    "verify": _verify,
    "report": _report,
    "repro": _repro,
}


if __name__ == "__main__":
    sys.exit(main())
