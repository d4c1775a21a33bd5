"""SHA-256 of sealed files: a bit that flips on disk is found."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import OpenLedger, RunJob, WritePrompts, ledger_row

from batchgen.errors import FolderError
from batchgen.ledger.compaction import compact
from batchgen.ledger.repair import repair
from batchgen.ledger.seals import atomic_parquet, clear_seals, is_as_sealed
from batchgen.ledger.verification import verify
from batchgen.storage.folder import JobFolder
from batchgen.storage.hashes import sha256


def flip(path: Path) -> None:
    """Flip a bit in the first half of a file, where its values are."""
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 4
    path.write_bytes(content)


def seal_of(folder: JobFolder, path: Path) -> str:
    """Return what is in the seal of a file."""
    return (folder.seals / path.name).read_text()


@pytest.fixture
def part(open_ledger: OpenLedger, folder: JobFolder) -> Path:
    """Return the one part of a folder."""
    ledger = open_ledger()
    ledger.commit([ledger_row(0)])
    ledger.close()
    (path,) = folder.parts.iterdir()
    return path


def test_a_part_is_sealed_with_its_hash(part: Path, folder: JobFolder) -> None:
    """In a file of its name."""
    assert seal_of(folder, part) == f"{sha256(part)}\n"


def test_a_bit_that_flipped_in_a_part_is_not_merged(part: Path, folder: JobFolder) -> None:
    """The start is refused with the way out."""
    flip(part)
    assert verify(folder).broken == [part]
    with pytest.raises(FolderError, match=rf"{part} has other bytes.*verify --repair"):
        compact(folder, {})


def test_a_bit_that_flipped_in_the_metadata_is_found_and_repaired(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """By `verify`, and by a start that has something to do."""
    prompts(4)
    run_job()
    flip(folder.metadata)
    assert verify(folder).broken == [folder.metadata]
    findings, left = repair(folder)
    assert (findings.broken, left.is_clean) == ([folder.metadata], True)
    assert run_job().n_made == 4


def test_a_replaced_file_keeps_one_hash(part: Path, folder: JobFolder) -> None:
    """That of the new one; while it is replaced, the old one counts as well."""
    compact(folder, {})
    for text in ("a", "b"):
        with atomic_parquet(
            folder.metadata, pa.schema([("x", pa.string())]), {}, sealed_in=folder
        ) as writer:
            writer.write_table(pa.table({"x": [text]}))
            assert is_as_sealed(folder, folder.metadata)
        assert seal_of(folder, folder.metadata) == f"{sha256(folder.metadata)}\n"
    assert not part.exists()


def test_a_kill_before_the_rename_leaves_a_file_as_sealed(folder: JobFolder, part: Path) -> None:
    """The seal names the old file and the new one then."""
    compact(folder, {})
    seal = folder.seals / folder.metadata.name
    seal.write_text(f"{sha256(folder.metadata)}\n{'0' * 64}\n")
    assert not part.exists()
    assert verify(folder).broken == []


def test_files_of_an_earlier_version_have_no_seal(folder: JobFolder) -> None:
    """They are read, and sealed when they are written again."""
    folder.create()
    pq.write_table(pa.table({"x": ["a"]}), folder.metadata)
    assert is_as_sealed(folder, folder.metadata)


def test_seals_of_merged_parts_are_deleted(part: Path, folder: JobFolder) -> None:
    """None stays behind."""
    compact(folder, {})
    assert [path.name for path in folder.seals.iterdir()] == [folder.metadata.name]
    (folder.seals / part.name).write_text("left by a kill")
    clear_seals(folder)
    assert [path.name for path in folder.seals.iterdir()] == [folder.metadata.name]
