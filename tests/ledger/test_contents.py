"""What is committed at one moment: other versions' files are refused, missing ones waited for."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import OpenLedger, ledger_row, write_part

from batchgen.errors import FolderError
from batchgen.ledger import contents as contents_module
from batchgen.ledger.contents import consistently, read_contents
from batchgen.ledger.journal import encode
from batchgen.ledger.notes import NOTES
from batchgen.ledger.reader import read_table
from batchgen.ledger.repair import repair
from batchgen.ledger.schema import METADATA, schema
from batchgen.ledger.seals import atomic_parquet
from batchgen.ledger.verification import verify
from batchgen.storage.folder import JobFolder

NEWER = {"type": "seal", "sha256": "00"}
K0, K1, K2 = ("k0", 0), ("k1", 0), ("k2", 0)


def newer_part(folder: JobFolder) -> Path:
    """Write a part in whose notes an event of a later version stands."""
    folder.create()
    path = folder.parts / "00000007-r.parquet"
    notes = {NOTES: json.dumps({"voids": [], "events": [NEWER]}).encode()}
    with atomic_parquet(path, schema(METADATA), notes):
        pass
    return path


def test_journal_of_a_newer_version_is_refused_by_name(folder: JobFolder) -> None:
    """With the event, and what to do."""
    folder.create()
    path = folder.journals / "00000007-r.jsonl"
    path.write_bytes(encode(NEWER))
    with pytest.raises(FolderError, match=rf"{path} holds .*'seal'.* newer one wrote it. Go on"):
        read_contents(folder)


def test_part_of_a_newer_version_is_refused_by_name(folder: JobFolder) -> None:
    """It is whole, so no repair is offered."""
    path = newer_part(folder)
    with pytest.raises(FolderError, match=rf"{path} holds .*'seal'.* newer one wrote it. Go on"):
        read_contents(folder)


def test_repair_leaves_a_part_of_a_newer_version_where_it_is(folder: JobFolder) -> None:
    """To put it aside would lose its images."""
    path = newer_part(folder)
    for command in (verify, repair):
        with pytest.raises(FolderError, match="newer one wrote it"):
            command(folder)
    assert path.exists()


def test_event_of_another_shape_is_refused_by_name(folder: JobFolder) -> None:
    """With the journal."""
    folder.create()
    path = folder.journals / "00000007-r.jsonl"
    path.write_bytes(encode({"type": "start", "keys": 5}))
    with pytest.raises(FolderError, match=rf"{path} holds .*'start' of another shape.*move"):
        read_contents(folder)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a missing file half a second only."""
    monkeypatch.setattr(contents_module, "_PATIENCE_S", 0.5)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "name",
    [".batchgen/parts/00000007-r.parquet", ".batchgen/journals/7-r.jsonl", "metadata.parquet"],
)
def test_link_to_nothing_is_refused_by_name(folder: JobFolder, name: str) -> None:
    """Reading it again and again ends."""
    write_part(folder, "r1", [ledger_row(0)])
    (folder.root / name).symlink_to(folder.root / "gone")
    message = re.escape(f"{folder.root / name} is a link to nothing. Restore")
    with pytest.raises(FolderError, match=message):
        read_table(folder)
    with pytest.raises(FolderError, match=message):
        consistently(folder, lambda: read_contents(folder))


@pytest.mark.usefixtures("impatient")
def test_repair_puts_a_link_to_nothing_aside(folder: JobFolder) -> None:
    """A second look finds nothing wrong with the files."""
    write_part(folder, "r1", [])
    link = folder.parts / "00000007-r.parquet"
    link.symlink_to(folder.root / "gone")
    assert repair(folder)[0].broken == [link]
    assert not link.is_symlink()
    assert verify(folder).is_clean


@pytest.mark.usefixtures("impatient")
def test_file_that_stays_away_is_named(folder: JobFolder) -> None:
    """Whatever it is that reading needs."""
    folder.create()

    def read() -> bytes:
        return (folder.root / "gone").read_bytes()

    with pytest.raises(
        FolderError, match=rf"A file is listed and cannot be opened: .*{folder.root}/gone"
    ):
        consistently(folder, read)


def test_file_that_comes_back_is_read(folder: JobFolder) -> None:
    """Some file systems show a change late."""
    folder.create()
    looks = itertools.count()

    def read() -> int:
        if next(looks) < 3:
            raise FileNotFoundError
        return 5

    assert consistently(folder, read) == 5


def test_folder_that_never_stands_still_is_given_up(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many reads; a job that seals all the time would keep a reader for ever."""
    monkeypatch.setattr(contents_module, "_MOST_READS", 10)
    folder.create()
    reads: list[int] = []

    def read() -> None:
        (folder.journals / f"{len(reads):08d}-r.jsonl").touch()
        reads.append(1)

    with pytest.raises(FolderError, match=rf"{folder.root} changes faster than it can be read"):
        consistently(folder, read)
    assert len(reads) == 10


def in_flight(folder: JobFolder) -> dict[int, Any]:
    """Return what the newest journal says is being made."""
    unsealed = read_contents(folder).journals[-1].unsealed
    assert unsealed is not None
    return unsealed.in_flight


def test_what_is_in_flight_is_known_by_worker(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """A start replaces the one of the same worker, whatever came of it."""
    ledger = open_ledger()
    ledger.start([K0])
    ledger.start([K1, K2], worker=1)
    assert in_flight(folder) == {0: (K0,), 1: (K1, K2)}
    ledger.start([K2], worker=1)
    assert in_flight(folder) == {0: (K0,), 1: (K2,)}
    ledger.close()


def test_result_ends_the_flight_of_its_own_batch(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """Done or failed; the other worker is still at its own."""
    ledger = open_ledger()
    ledger.start([K0])
    ledger.start([K1, K2], worker=1)
    ledger.commit([ledger_row(2)])
    assert in_flight(folder) == {0: (K0,)}
    ledger.start([K1], worker=1)
    ledger.fail(ledger_row(0))
    assert in_flight(folder) == {1: (K1,)}
    ledger.close()
