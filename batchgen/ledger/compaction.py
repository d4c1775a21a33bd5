"""All sealed files as one: metadata.parquet and failures.parquet, at the end of a start.

Works a stretch of rows at a time, so memory does not grow with the job.
"""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq

from batchgen.ledger.contents import read_contents
from batchgen.ledger.notes import NOTES, MetadataNotes
from batchgen.ledger.reader import ORDER, in_order, merged_schema
from batchgen.ledger.records import Record
from batchgen.ledger.schema import FAILURES, schema
from batchgen.ledger.writer import remove_covered, sealed_parquet
from batchgen.storage.atomic import storage_errors
from batchgen.storage.folder import JobFolder

VERSIONS = b"batchgen.versions"
"""Key of the software behind each environment, as JSON."""


def compact(folder: JobFolder, versions: dict[str, dict[str, str]]) -> None:
    """Merge all sealed files into metadata.parquet and failures.parquet.

    The caller holds the lock and has closed its journal.

    Args:
        folder: The job's.
        versions: The software behind each `environment` of the rows; earlier ones are kept.
    """
    contents = read_contents(folder)
    if any(source.path != folder.metadata for source in contents.sources):
        to_schema = merged_schema(contents)
        known = {**read_versions(folder), **versions}
        key_value = {
            NOTES: MetadataNotes.encode(contents.last_sequence, contents.state),
            VERSIONS: json.dumps(known).encode(),
        }
        with sealed_parquet(folder.metadata, to_schema, key_value) as writer:
            for table in in_order(contents, to_schema):
                writer.write_table(table)
    _write_failures(folder, list(contents.state.failures.values()))
    remove_covered(folder, contents.last_sequence)


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
    with sealed_parquet(folder.failures, to_schema, {}) as writer:
        writer.write_table(table)
