"""`batchgen verify`: read every byte of a job and say what is wrong."""

from __future__ import annotations

import argparse

from batchgen.errors import ExitCode
from batchgen.ledger.repair import repair
from batchgen.ledger.verification import verify as verify_folder
from batchgen.storage.folder import GRID_FILE, JobFolder
from batchgen.storage.job_search import jobs_in


def verify(options: argparse.Namespace) -> int:
    """Print what is wrong with a job's folder, and repair it with `--repair`."""
    folder = JobFolder(options.folder)
    if not options.repair:
        return _verify(_jobs(folder))
    findings, left = repair(folder)
    print("\n".join(findings.lines()))
    if not left.is_clean:
        print("not repaired; still wrong is:")
        print("\n".join(left.lines()))
        return ExitCode.not_all_well
    if not findings.is_clean:
        print("repaired; start the job again to make what is missing")
    return ExitCode.done


def _jobs(folder: JobFolder) -> list[JobFolder]:
    """Return a job with its shards, or the jobs of a grid; a folder that is neither, as it is."""
    if not folder.is_job() and (folder.root / GRID_FILE).exists():
        return jobs_in(folder.root)
    return [job for job in (folder, *folder.shards()) if job.is_job()] or [folder]


def _verify(folders: list[JobFolder]) -> int:
    """Print what is wrong with a job's folder, or with those of its shards or points, by name."""
    are_clean = True
    for folder in folders:
        findings = verify_folder(folder)
        name = f"{folder.root}: " if len(folders) > 1 else ""
        print("\n".join(f"{name}{line}" for line in findings.lines()))
        are_clean &= findings.is_clean
    return ExitCode.done if are_clean else ExitCode.not_all_well
