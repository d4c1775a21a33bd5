"""`batchgen report`: contact sheets of a job, or of a grid's jobs."""

from __future__ import annotations

import argparse

from batchgen.cli.messages import say
from batchgen.errors import ExitCode, FolderError
from batchgen.report.contact_sheets import contact_sheets
from batchgen.runner.grid import worst
from batchgen.storage.job_search import jobs_in


def report(options: argparse.Namespace) -> int:
    """Draw contact sheets and print their paths."""
    codes = [ExitCode.done]
    for job in jobs_in(options.folder):
        try:
            for path in contact_sheets(job, columns=options.columns, font=options.font):
                print(path, flush=True)
        except FolderError as error:
            say(error)
            codes.append(error.exit_code)
    return worst(codes)
