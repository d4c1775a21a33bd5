"""What a ledger records besides its images: failures, suspects, and the rungs that worked.

Applying an event twice changes nothing, so a crash between two steps of the ledger is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from batchgen.ledger import events
from batchgen.ledger.events import Event
from batchgen.ledger.records import Key, Record, key_of


@dataclass(slots=True)
class Suspect:
    """An image that was being made when its process died or hung."""

    runs: list[str] = field(default_factory=list)
    """The starts that ended while it was made, alone or with others."""
    alone: list[str] = field(default_factory=list)
    """Those among them that ended while it was made alone."""
    reason: str = ""


@dataclass(slots=True)
class LedgerState:
    """The state that the events of a ledger lead to, besides its rows."""

    failures: dict[Key, Record] = field(default_factory=dict)
    """A row of failures.parquet for each image that failed and was not made since."""
    suspects: dict[Key, Suspect] = field(default_factory=dict)
    rungs: dict[str, str] = field(default_factory=dict)
    """Size, as 1024x768, to the rung of the memory ladder that worked for it."""
    dropped: set[Key] = field(default_factory=set)
    """Images whose files were gone, and that `on_missing=drop` leaves out."""

    def apply(self, event: Event) -> None:
        """Apply one event; other kinds change nothing here."""
        match event:
            case events.Done(rows):
                self._clear(key_of(row) for row in rows)
            case events.Clear(keys):
                self._clear(keys)
            case events.Fail(failure):
                self.suspects.pop(key_of(failure), None)
                self.failures[key_of(failure)] = failure
            case events.Suspect(keys, run_id, reason):
                for key in keys:
                    self._suspect(key, run_id, reason, is_alone=len(keys) == 1)
            case events.Rung(size, rung):
                self.rungs[size] = rung
            case events.Reset():
                self.failures.clear()
                self.suspects.clear()
            case events.Drop(keys):
                self.dropped.update(keys)
            case events.Undrop():
                self.dropped.clear()

    def events_to_keep(self, event: Event) -> list[Event]:
        """Return what of an event, about to be applied, a part must hold besides its rows."""
        match event:
            case events.Fail() | events.Suspect() | events.Rung() | events.Reset():
                return [event]
            case events.Drop() | events.Undrop():
                return [event]
            case events.Done(rows):
                keys = [key_of(row) for row in rows]
                known = [key for key in keys if self.knows(key)]
                return [events.Clear(tuple(known))] if known else []
        return []

    def _clear(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.failures.pop(key, None)
            self.suspects.pop(key, None)
            self.dropped.discard(key)

    def knows(self, key: Key) -> bool:
        """Whether an image failed, is suspected or was dropped."""
        return key in self.failures or key in self.suspects or key in self.dropped

    def _suspect(self, key: Key, run_id: str, reason: str, *, is_alone: bool) -> None:
        suspect = self.suspects.setdefault(key, Suspect())
        suspect.reason = reason
        for runs in (suspect.runs, suspect.alone) if is_alone else (suspect.runs,):
            if run_id not in runs:
                runs.append(run_id)

    def as_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {
            "failures": list(self.failures.values()),
            "suspects": [[*key, s.runs, s.alone, s.reason] for key, s in self.suspects.items()],
            "rungs": self.rungs,
            **({"dropped": sorted(self.dropped)} if self.dropped else {}),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> LedgerState:
        """Return the state behind `as_json`."""
        state = cls(rungs=dict(content["rungs"]))
        for failure in content["failures"]:
            state.apply(events.parse({"type": "fail", "failure": failure}))
        for row_key, image_index, runs, alone, reason in content["suspects"]:
            state.suspects[row_key, image_index] = Suspect(runs, alone, reason)
        state.dropped.update(events.read_keys(content.get("dropped", ())))
        return state
