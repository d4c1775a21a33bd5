"""`batchgen status`: how jobs are doing."""

from __future__ import annotations

import argparse
import json

from batchgen.errors import ExitCode
from batchgen.report.status import status_lines, status_objects


def status(options: argparse.Namespace) -> int:
    """Print how a job, or every job of a folder, is doing."""
    if options.json:
        print(json.dumps(list(status_objects(options.folder)), ensure_ascii=False))
        return ExitCode.done
    for line in status_lines(options.folder):
        print(line)
    return ExitCode.done
