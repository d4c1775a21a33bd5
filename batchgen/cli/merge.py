"""`batchgen merge`: make one job of its shards."""

from __future__ import annotations

import argparse

from batchgen.errors import ExitCode
from batchgen.runner.merging import merge as merge_folder
from batchgen.storage.folder import JobFolder


def merge(options: argparse.Namespace) -> int:
    """Merge the shards in a folder into it, and say what came of it."""
    merged = merge_folder(JobFolder(options.folder))
    print("\n".join(merged.lines()))
    return ExitCode.done
