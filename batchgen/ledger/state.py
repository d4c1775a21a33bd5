"""What a job remembers besides its images: failures, suspects, and the rungs that worked.

Replaying an event twice changes nothing, so a crash between two steps of the ledger is harmless.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, int]
"""Row key and image index."""


@dataclass(slots=True)
class Suspect:
    """An image that was being made when its process died or hung."""

    runs: list[str] = field(default_factory=list)
    """The starts that ended on it, in whatever company."""
    alone: list[str] = field(default_factory=list)
    """Those among them that ended while it was made alone."""
    reason: str = ""


@dataclass(slots=True)
class Facts:
    """The state that events of the ledger add up to."""

    failures: dict[Key, dict[str, Any]] = field(default_factory=dict)
    """A row of failures.parquet for each image that failed and was not made since."""
    suspects: dict[Key, Suspect] = field(default_factory=dict)
    rungs: dict[str, str] = field(default_factory=dict)
    """Size, as 1024x768, to the rung of the memory ladder that worked for it."""

    def apply(self, event: dict[str, Any]) -> None:
        """Take in one event; events of other kinds pass by."""
        match event:
            case {"type": "done", "rows": rows}:
                for row in rows:
                    self._clear((row["row_key"], row["image_index"]))
            case {"type": "clear", "keys": keys}:
                for row_key, image_index in keys:
                    self._clear((row_key, image_index))
            case {"type": "fail", "failure": failure}:
                key = (failure["row_key"], failure["image_index"])
                self.suspects.pop(key, None)
                self.failures[key] = failure
            case {"type": "suspect", "keys": keys, "run_id": run_id, "reason": reason}:
                for key in keys:
                    self._suspect(tuple(key), run_id, reason, is_alone=len(keys) == 1)
            case {"type": "rung", "size": size, "rung": rung}:
                self.rungs[size] = rung
            case {"type": "forgive"}:
                self.failures.clear()
                self.suspects.clear()

    def events_to_keep(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what of an event, about to be applied, a part must hold besides its rows."""
        kind = event.get("type")
        if kind in ("fail", "suspect", "rung", "forgive"):
            return [event]
        rows = event["rows"] if kind == "done" else []
        keys = [(row["row_key"], row["image_index"]) for row in rows]
        cleared = [key for key in keys if key in self.failures or key in self.suspects]
        return [{"type": "clear", "keys": cleared}] if cleared else []

    def _clear(self, key: Key) -> None:
        self.failures.pop(key, None)
        self.suspects.pop(key, None)

    def _suspect(self, key: Key, run_id: str, reason: str, *, is_alone: bool) -> None:
        suspect = self.suspects.setdefault(key, Suspect())
        suspect.reason = reason
        for runs in (suspect.runs, suspect.alone) if is_alone else (suspect.runs,):
            if run_id not in runs:
                runs.append(run_id)

    def as_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return {
            "failures": list(self.failures.values()),
            "suspects": [[*key, s.runs, s.alone, s.reason] for key, s in self.suspects.items()],
            "rungs": self.rungs,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Facts:
        """Return the facts behind `as_json`."""
        facts = cls(rungs=dict(content["rungs"]))
        for failure in content["failures"]:
            facts.apply({"type": "fail", "failure": failure})
        for row_key, image_index, runs, alone, reason in content["suspects"]:
            facts.suspects[row_key, image_index] = Suspect(runs, alone, reason)
        return facts
