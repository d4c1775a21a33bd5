"""Workers in other processes: what they are given, and what is heard of them.

The driver knows a worker by a number, which no other worker of the same crew ever has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from batchgen.errors import BatchgenError
from batchgen.images.image_file import Saved
from batchgen.plan.requests import Batch
from batchgen.runner.maker import Failed, Made
from batchgen.runner.memory_ladder import Rung


@dataclass(frozen=True, slots=True)
class Lease:
    """A batch that a worker is to make."""

    number: int
    batch: Batch
    mark: str
    """Part of the names that the worker's files have until the driver commits them."""
    rungs: Mapping[str, Rung]
    """What is known of the memory ladder, size to rung."""
    is_probe: bool = False
    """Whether no file is wanted: the device is tried out."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a lease."""

    worker: int
    number: int
    outcomes: list[tuple[Made, Saved] | Failed] = field(default_factory=list)
    """In the order they came; the pictures have no pixels any more."""
    rungs: dict[str, Rung] = field(default_factory=dict)
    """What the worker learned of the memory ladder."""
    is_skipped: bool = False
    """Not begun, since the job stops."""
    lost: str | None = None
    """Why the device is lost: no outcome counts."""
    error: BatchgenError | None = None
    """What stops the whole job, such as a full disk."""


@dataclass(frozen=True, slots=True)
class Death:
    """A worker is gone, and what it held with it."""

    worker: int
    reason: str
    is_crash: bool = False
    """Whether it wrote a note: what it made killed it, or hung."""
    is_lost: bool = False
    """Whether its device cannot be used: no other takes its place."""


class Crew(Protocol):
    """The workers of a job that is open."""

    @property
    def workers(self) -> Collection[int]:
        """Those that take leases."""
        ...

    @property
    def n_coming(self) -> int:
        """Workers that are started, and take no leases yet."""
        ...

    def give(self, worker: int, lease: Lease) -> None:
        """Queue a lease of a worker."""
        ...

    def wait(self, seconds: float) -> list[Report | Death]:
        """Return what happened, after so many seconds at most; reports before deaths."""
        ...

    def replace(self) -> None:
        """Start another worker."""
        ...

    def dismiss(self, worker: int) -> None:
        """End a worker; nothing is heard of it any more."""
        ...

    def skip(self) -> None:
        """Let all leases that are not begun come back undone."""
        ...

    def signs(self) -> dict[int, dict[str, Any]]:
        """Return what is known of each worker.

        `device` is its host and device, `pid` its process, and `seen` when it gave its last sign of
        life, in seconds since the epoch.
        """
        ...
