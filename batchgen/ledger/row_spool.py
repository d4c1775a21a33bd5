"""What is committed at one moment, put aside in a file: a look that takes hours needs no lock."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from types import TracebackType

import numpy as np
import pyarrow as pa

from batchgen.ledger.contents import Contents
from batchgen.ledger.reader import live_tables


class RowSpool:
    """Some columns of all rows that are committed, in a temporary file that has no name."""

    def __init__(self, columns: dict[str, pa.DataType]) -> None:
        """Set columns and types, row key and image index among them."""
        self._columns = list(columns)
        self._schema = pa.schema([*columns.items(), ("source", pa.int32())])
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # this object is the context

    def __enter__(self) -> RowSpool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def fill(self, contents: Contents) -> None:
        """Take what is committed in the place of what was here before."""
        self._file.seek(0)
        self._file.truncate()
        number = {source.path: at for at, source in enumerate(contents.sources)}
        with pa.ipc.new_stream(self._file, self._schema) as stream:
            for source, table in live_tables(contents, self._columns):
                of = pa.array(np.full(table.num_rows, number[source.path], dtype=np.int32))
                stream.write_table(table.append_column("source", of).cast(self._schema))

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows, some ten thousand a table; `source` is the place among the sources."""
        self._file.seek(0)
        with pa.ipc.open_stream(self._file) as stream:
            for batch in stream:
                yield pa.Table.from_batches([batch])
