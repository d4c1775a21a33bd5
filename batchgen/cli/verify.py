"""`batchgen verify`: read every byte of a job and say what is wrong."""

from __future__ import annotations

import argparse

from batchgen.errors import ExitCode
from batchgen.ledger import verification
from batchgen.storage.folder import JobFolder


def verify(options: argparse.Namespace) -> int:
    """Print what is wrong with a job's folder, and repair it with `--repair`."""
    findings = (verification.repair if options.repair else verification.verify)(
        JobFolder(options.folder)
    )
    for line in findings.lines():
        print(line)
    if options.repair and not findings.is_clean:
        print("repaired; start the job again to make what is missing")
        return ExitCode.done
    return ExitCode.done if findings.is_clean else ExitCode.not_all_well
