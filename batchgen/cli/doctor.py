"""`batchgen doctor`: what is wrong with this machine, or with a log."""

from __future__ import annotations

import argparse
import json

from batchgen.doctor import crash_log
from batchgen.errors import ConfigError, ExitCode


def doctor(options: argparse.Namespace) -> int:
    """Print the checks of this machine, or the known faults in a log."""
    if options.log is not None:
        return _read_log(options)  # needs neither hydra nor a model
    from batchgen.cli.compose import Composer, with_table
    from batchgen.doctor.examination import examine, has_failed, summary

    # As for a download: any path passes for the table, none is opened.
    checks = []
    for check in examine(Composer(options.config_dir).job(with_table(options.overrides))):
        checks.append(check)
        if not options.json:
            print("\n".join(check.lines()), flush=True)
    print(json.dumps([check.as_json() for check in checks]) if options.json else summary(checks))
    return ExitCode.refused if has_failed(checks) else ExitCode.done


def _read_log(options: argparse.Namespace) -> int:
    if options.overrides:
        raise ConfigError([f"{options.overrides[0]}: --log reads a log and takes no settings."])
    found = crash_log.sightings(options.log)
    lines = [crash_log.as_json(found)] if options.json else crash_log.report(found)
    print("\n".join(lines))
    return ExitCode.not_all_well if found else ExitCode.done
