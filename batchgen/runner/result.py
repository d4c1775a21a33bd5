"""What a job ends with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from batchgen.errors import ExitCode


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job ended with."""

    folder: Path
    n_images: int
    """Images the table asks for."""
    n_made: int
    """Images this start committed."""
    n_done: int
    """Images that are finished, earlier ones included."""
    n_failed: int
    exit_code: ExitCode
    """0 all done, 3 some images failed, 4 circuit open, 75 stopped early and resumable."""
    message: str

    @property
    def n_left(self) -> int:
        """Images neither done nor failed."""
        return self.n_images - self.n_done - self.n_failed
