"""`batchgen verify`: read every byte of a job and say what is wrong."""

from __future__ import annotations

import argparse

from batchgen.errors import ExitCode
from batchgen.ledger.repair import repair
from batchgen.ledger.verification import verify as verify_folder
from batchgen.storage.folder import JobFolder


def verify(options: argparse.Namespace) -> int:
    """Print what is wrong with a job's folder, and repair it with `--repair`."""
    folder = JobFolder(options.folder)
    if not options.repair:
        findings = verify_folder(folder)
        print("\n".join(findings.lines()))
        return ExitCode.done if findings.is_clean else ExitCode.not_all_well
    findings, left = repair(folder)
    print("\n".join(findings.lines()))
    if not left.is_clean:
        print("not repaired; still wrong is:")
        print("\n".join(left.lines()))
        return ExitCode.not_all_well
    if not findings.is_clean:
        print("repaired; start the job again to make what is missing")
    return ExitCode.done
