"""All sealed files as one: metadata.parquet and failures.parquet, at the end of a start.

Works a stretch of rows at a time, so memory does not grow with the job.
"""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.ledger.carried import Followed, TableNow, followed_schema, following, is_followed
from batchgen.ledger.contents import read_contents
from batchgen.ledger.notes import NOTES, MetadataNotes
from batchgen.ledger.reader import ORDER, in_order, merged_schema
from batchgen.ledger.records import Record
from batchgen.ledger.schema import FAILURES, schema
from batchgen.ledger.seals import atomic_parquet, clear_seals, refuse_altered
from batchgen.ledger.writer import remove_covered
from batchgen.storage.atomic import storage_errors
from batchgen.storage.folder import JobFolder

VERSIONS = b"batchgen.versions"
"""Key of the software behind each environment, as JSON."""


def compact(
    folder: JobFolder,
    versions: dict[str, dict[str, str]],
    now: TableNow | None = None,
    table: str = "",
) -> Followed:
    """Merge all sealed files into metadata.parquet and failures.parquet.

    The caller holds the lock and has closed its journal.

    Args:
        folder: The job's.
        versions: The software behind each `environment` of the rows; earlier ones are kept.
        now: The prompt table, whose own columns all rows are given; None leaves them as they are.
        table: `Table.origin` of the prompt table.

    Returns:
        What the table's own columns changed.

    Raises:
        FolderError: A sealed file has other bytes than it was written with.
        StorageError: A file cannot be written.
    """
    contents = read_contents(folder)
    followed = Followed()
    if now is not None or any(source.path != folder.metadata for source in contents.sources):
        for source in contents.sources:
            refuse_altered(folder, source.path)
        to_schema = merged_schema(contents)
        tables = in_order(contents, to_schema)
        if now is not None:
            to_schema, followed = followed_schema(contents, now)
            tables = following(contents, now, to_schema, followed)
        is_of_table = now is not None or is_followed(contents, table)
        key_value = {
            NOTES: MetadataNotes.encode(
                contents.last_sequence, contents.state, table if is_of_table else ""
            ),
            VERSIONS: json.dumps({**read_versions(folder), **versions}).encode(),
        }
        with atomic_parquet(folder.metadata, to_schema, key_value, sealed_in=folder) as writer:
            for rows in tables:
                writer.write_table(rows)
    _write_failures(folder, list(contents.state.failures.values()))
    remove_covered(folder, contents.last_sequence)
    clear_seals(folder)
    return followed


def read_versions(folder: JobFolder) -> dict[str, dict[str, str]]:
    """Return the software behind each `environment` in metadata.parquet."""
    if not folder.metadata.exists():
        return {}
    notes = pq.read_metadata(folder.metadata).metadata or {}
    return dict(json.loads(notes.get(VERSIONS, b"{}")))


def _write_failures(folder: JobFolder, failures: list[Record]) -> None:
    if not failures:
        with storage_errors(folder.failures):
            folder.failures.unlink(missing_ok=True)
        return
    to_schema = schema(FAILURES)
    arrays = [pa.array([f.get(x.name) for f in failures], x.type) for x in to_schema]
    table = pa.Table.from_arrays(arrays, schema=to_schema).sort_by(ORDER)
    with atomic_parquet(folder.failures, to_schema, {}) as writer:
        writer.write_table(table)
