"""The files that hold what is committed: a journal as it was read, and one of either form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.ledger import events
from batchgen.ledger.events import Event
from batchgen.ledger.records import Key, Record, key_of, records_to_table
from batchgen.ledger.schema import METADATA, schema


@dataclass(slots=True)
class Unsealed:
    """What a journal says: rows, and the keys it withdraws from earlier files."""

    rows: dict[Key, Record] = field(default_factory=dict)
    voids: set[Key] = field(default_factory=set)
    in_flight: dict[int, tuple[Key, ...]] = field(default_factory=dict)
    """Worker to the images of its last start, as long as none of them is done or failed."""
    schema: pa.Schema = field(default_factory=lambda: schema(METADATA))
    table: str = ""
    """As in `Source.table`."""
    has_schema: bool = False
    """Whether the journal said its schema; rows of one that lost its first line do not count."""
    events: list[Event] = field(default_factory=list)
    """Those of its events that a part keeps beside its rows: see `LedgerState.events_to_keep`."""

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing that must be kept."""
        return not (self.rows or self.voids or self.events)

    def apply(self, event: Event) -> None:
        """Apply one event; other kinds change nothing here."""
        match event:
            case events.Schema(to_schema, table):
                self.schema = to_schema
                self.table = table
                self.has_schema = True
            case events.Start(keys, worker):
                self.in_flight[worker] = keys
            case events.Done(rows) if self.has_schema:
                for row in rows:
                    self.rows[key_of(row)] = row
                    self._land(key_of(row))
            case events.Void(keys):
                for key in keys:
                    self.rows.pop(key, None)
                    self.voids.add(key)
            case events.Fail(failure):
                self._land(key_of(failure))

    def _land(self, key: Key) -> None:
        """Take the batch of an image out of those in flight."""
        self.in_flight = {
            worker: keys for worker, keys in self.in_flight.items() if key not in keys
        }


@dataclass(frozen=True, slots=True)
class Source:
    """A sealed file or a journal's rows; its voids hold for sources of a lower sequence."""

    sequence: int
    path: Path
    unsealed: Unsealed | None
    voids: frozenset[Key]
    n_rows: int
    table: str
    """`Table.origin` of the table whose own columns its rows have; empty where it is not known."""

    @property
    def run_id(self) -> str:
        """The start that wrote it."""
        return self.path.stem.partition("-")[2]

    def tables(self, columns: list[str] | None, n_rows: int) -> Iterator[pa.Table]:
        """Yield its rows in their order there, at most `n_rows` a table where it is sealed."""
        if self.unsealed is not None:
            table = records_to_table(self.unsealed.rows.values(), self.unsealed.schema)
            yield table if columns is None else table.select(columns)
        else:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(n_rows, columns=columns):
                    yield pa.Table.from_batches([batch])

    def row_indexes(self) -> tuple[int, int]:
        """Return the least and the largest row index; there must be rows."""
        if self.unsealed is not None:
            indexes = [row["row_index"] for row in self.unsealed.rows.values()]
            return min(indexes), max(indexes)
        statistics = [s for *_, s in row_groups(pq.read_metadata(self.path))]
        return min(s.min for s in statistics), max(s.max for s in statistics)


def row_groups(metadata: Any) -> Iterator[tuple[int, Any]]:
    """Yield each row group of a file that has rows, with the statistics of its row indexes."""
    at = metadata.schema.to_arrow_schema().get_field_index("row_index")
    for group in range(metadata.num_row_groups):
        if metadata.row_group(group).num_rows:
            yield group, metadata.row_group(group).column(at).statistics
