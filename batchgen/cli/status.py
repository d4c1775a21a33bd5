"""`batchgen status`: how jobs are doing."""

from __future__ import annotations

import argparse

from batchgen.errors import ExitCode
from batchgen.report.status import status_lines


def status(options: argparse.Namespace) -> int:
    """Print how a job, or every job of a folder, is doing."""
    for line in status_lines(options.folder):
        print(line)
    return ExitCode.done
