"""What a sealed file records about itself for the ledger, in its key-value metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.ledger import events
from batchgen.ledger.events import Event, read_keys
from batchgen.ledger.records import Key
from batchgen.ledger.state import LedgerState

UNREADABLE = (
    OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError, OverflowError,
    RecursionError,
)  # fmt: skip
"""What reading the notes of a sealed file may raise where they are foreign or damaged."""

NOTES = b"batchgen.ledger"
"""Key of what a Parquet file records about itself for the ledger, as JSON."""


@dataclass(frozen=True, slots=True)
class MetadataNotes:
    """What metadata.parquet records about itself for the ledger."""

    covers: int
    """Sequence number of the last file that was merged into it."""
    state: LedgerState
    n_rows: int
    table: str
    """As in `Source.table`."""

    @classmethod
    def read(cls, path: Path) -> MetadataNotes:
        """Read them. Raises `UNREADABLE`, `UnknownEvent` among them."""
        metadata = pq.read_metadata(path)
        notes = json.loads((metadata.metadata or {})[NOTES])
        state = LedgerState.from_json(notes["facts"])
        covers, table = int(notes["covers"]), str(notes.get("table", ""))
        return cls(covers, state, metadata.num_rows, table)

    @staticmethod
    def encode(covers: int, state: LedgerState, table: str = "") -> bytes:
        """Return the notes of a metadata.parquet that covers all files up to a number."""
        of_table = {"table": table} if table else {}
        return json.dumps({"covers": covers, "facts": state.as_json(), **of_table}).encode()


@dataclass(frozen=True, slots=True)
class PartNotes:
    """What a part records about itself for the ledger, besides its rows."""

    voids: frozenset[Key]
    """What it withdraws from earlier files."""
    events: tuple[Event, ...]
    n_rows: int
    table: str
    """As in `Source.table`."""

    @classmethod
    def read(cls, path: Path) -> PartNotes:
        """Read them. Raises `UNREADABLE`, `UnknownEvent` among them."""
        metadata = pq.read_metadata(path)
        notes = json.loads((metadata.metadata or {})[NOTES])
        kept = tuple(events.parse(event) for event in notes["events"])
        voids, table = frozenset(read_keys(notes["voids"])), str(notes.get("table", ""))
        return cls(voids, kept, metadata.num_rows, table)

    @staticmethod
    def encode(voids: Iterable[Key], kept: Iterable[Event], table: str = "") -> bytes:
        """Return the notes of a part."""
        as_json = [events.as_json(event) for event in kept]
        of_table = {"table": table} if table else {}
        return json.dumps({"voids": sorted(voids), "events": as_json, **of_table}).encode()
