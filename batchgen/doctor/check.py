"""What a check says, as a line for people and as a record for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum


class Outcome(str, Enum):
    """How a check ended; a warning stops no job, or a download resolves it."""

    ok = "ok"
    warning = "warning"
    failed = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    outcome: Outcome
    finding: str
    """What there is, in one line."""
    cure: str = ""
    """A command to paste, or a setting; empty where all is well."""

    def lines(self) -> Iterator[str]:
        """Yield the row of the table, and the cure below it."""
        yield f"{self.outcome.value:<8} {self.name:<16} {self.finding}"
        if self.cure:
            yield f"{'':<25} cure: {self.cure}"

    def as_json(self) -> dict[str, str]:
        """Return the check for programs."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "finding": self.finding,
            "cure": self.cure,
        }


def ok(name: str, finding: str) -> Check:
    """All is well."""
    return Check(name, Outcome.ok, finding)


def warning(name: str, finding: str, cure: str) -> Check:
    """A job runs, but perhaps not as it should."""
    return Check(name, Outcome.warning, finding, cure)


def failed(name: str, finding: str, cure: str) -> Check:
    """A job does not run."""
    return Check(name, Outcome.failed, finding, cure)


def not_needed(checks: Iterable[Check]) -> Iterator[Check]:
    """Turn failures into warnings, for what a job does not need."""
    for check in checks:
        if check.outcome is Outcome.failed:
            yield dataclasses.replace(check, outcome=Outcome.warning)
        else:
            yield check
