"""How commands report errors."""

from __future__ import annotations

import sys

from batchgen.errors import BatchgenError


def say(error: BatchgenError) -> None:
    """Print an error of the user to stderr, a line for each problem."""
    lines = str(error).splitlines() or [type(error).__name__]
    print("\n".join(f"batchgen: {line}" for line in lines), file=sys.stderr)
