"""The ledger: nothing committed is lost or doubled, wherever a crash cuts it."""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import OpenLedger, ledger_row

from batchgen.errors import FolderError
from batchgen.ledger import compaction, reader
from batchgen.ledger import contents as contents_module
from batchgen.ledger import writer as ledger_module
from batchgen.ledger.compaction import compact
from batchgen.ledger.contents import Contents, read_contents
from batchgen.ledger.reader import read_table
from batchgen.ledger.records import Key
from batchgen.ledger.state import LedgerState
from batchgen.ledger.writer import Ledger
from batchgen.storage.folder import JobFolder

K0, K1, K9 = ("k0", 0), ("k1", 0), ("k9", 0)
FAILURE = {"row_key": "k9", "image_index": 0, "row_index": 9, "attempt": 1}
RUNG = ("64x64", "slicing")


def committed(folder: JobFolder) -> dict[Key, str]:
    """Return what is committed: the key of each image to its fingerprint; no key stands twice."""
    rows = read_table(folder).select(["row_key", "image_index", "fingerprint"]).to_pylist()
    found = {(row["row_key"], row["image_index"]): row["fingerprint"] for row in rows}
    assert len(found) == len(rows), f"twice: {Counter(map(str, rows)).most_common(1)}"
    return found


def keys(folder: JobFolder) -> list[str]:
    """Return the row keys that are committed."""
    return sorted(row_key for row_key, _ in committed(folder))


def state(folder: JobFolder) -> tuple[dict[Key, str], LedgerState]:
    """Return all that a crash must not change."""
    return committed(folder), read_contents(folder).state


@dataclass
class Crashes:
    """Copies of a folder as `kill -9` would leave it, after each step that changed it."""

    folder: JobFolder
    into: Path
    copies: list[tuple[int, JobFolder]] = field(default_factory=list)
    """With the number of the operation that was cut."""
    operation: int = 0

    @contextmanager
    def recorded(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Copy the folder around every step; a write is cut in its middle as well."""
        write = os.write

        def write_in_two(descriptor: int, content: bytes) -> int:
            half = len(content) // 2
            write(descriptor, content[:half])
            self._copy()
            return half + write(descriptor, content[half:])

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", self._and_copy(write_in_two))
            for name in ("open", "replace", "unlink", "fdatasync"):
                patch.setattr(os, name, self._and_copy(getattr(os, name)))
            yield

    def _and_copy(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **options: Any) -> Any:
            result = step(*arguments, **options)
            self._copy()
            return result

        return stepped

    def _copy(self) -> None:
        target = self.into / str(len(self.copies))
        shutil.copytree(self.folder.root, target)
        self.copies.append((self.operation, JobFolder(target)))


def four_starts(open_ledger: OpenLedger, folder: JobFolder) -> list[Callable[[], object]]:
    """Return, an operation at a time, a life in which a start dies and everything happens."""
    ledgers: list[Ledger] = []

    def opening(run_id: str) -> Callable[[], None]:
        return lambda: ledgers.append(open_ledger(run_id))

    def doing(name: str, *arguments: Any) -> Callable[[], None]:
        return lambda: getattr(ledgers[-1], name)(*arguments)

    merging = partial(compact, folder, {})
    return [
        opening("r1"),
        doing("start", [K0, K1]),
        doing("commit", [ledger_row(0), ledger_row(1)]),
        doing("fail", FAILURE),
        doing("commit", [ledger_row(2)]),  # the third row: a part is sealed
        doing("withdraw", [K1]),
        doing("commit", [ledger_row(1, made=2)]),
        doing("rung", *RUNG),
        doing("close"),
        merging,
        opening("r2"),
        doing("commit", [ledger_row(4), ledger_row(3)]),
        doing("withdraw", [K0]),
        doing("suspect", [K0], "died"),
        doing("close"),
        opening("r3"),
        doing("commit", [ledger_row(5), ledger_row(0, made=2)]),
        doing("abandon"),
        opening("r4"),
        doing("commit", [ledger_row(9)]),
        doing("close"),
        merging,
    ]


@pytest.fixture(autouse=True)
def _short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "PART_ROWS", 3)


def test_crash_between_any_two_steps_loses_and_doubles_nothing(
    folder: JobFolder, open_ledger: OpenLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each operation has happened or has not; the next start finds it so and keeps it so."""
    folder.create()
    crashes = Crashes(folder, tmp_path / "copies")
    states = [state(folder)]
    for operation in four_starts(open_ledger, folder):
        with crashes.recorded(monkeypatch):
            operation()
        states.append(state(folder))
        crashes.operation += 1
    assert sorted(states[-1][0]) == [(f"k{n}", 0) for n in (0, 1, 2, 3, 4, 5, 9)]
    assert len(crashes.copies) > 80
    for n, copy in crashes.copies:
        found = state(copy)
        assert found in states[n : n + 2], f"operation {n}, {copy.root}"
        open_ledger("recovery", place=copy).close()
        compact(copy, {})
        assert state(copy) == found
        assert not [*copy.journals.glob("*.jsonl"), *copy.parts.glob("*.parquet")]


def test_crash_in_a_recovery_loses_and_doubles_nothing(
    folder: JobFolder, open_ledger: OpenLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Journals that several dead starts left are sealed one by one; any of that may be cut."""
    for n in range(3):
        dead = open_ledger(f"dead{n}")
        dead.commit([ledger_row(n)])
        dead.withdraw([(f"k{n - 1}", 0)])
        dead.fail(FAILURE) if n == 1 else dead.rung(*RUNG)
        dead.abandon()
    before = state(folder)
    assert sorted(before[0]) == [("k2", 0)]
    crashes = Crashes(folder, tmp_path / "copies")
    with crashes.recorded(monkeypatch):
        open_ledger("recovery").close()
        compact(folder, {})
    for _, copy in [*crashes.copies, (0, folder)]:
        assert state(copy) == before


def test_commit_is_seen_by_a_reader_at_once(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """`read_metadata` works while the job runs."""
    ledger = open_ledger()
    ledger.commit([ledger_row(3)])
    ledger.commit([ledger_row(1), ledger_row(0)])
    assert keys(folder) == ["k0", "k1", "k3"]
    ledger.close()


def test_withdrawn_image_is_gone_from_every_earlier_file(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """From metadata.parquet, from a part, and from the journal it stands in itself."""
    for at, run_id in enumerate(("compacted", "sealed")):
        ledger = open_ledger(run_id)
        ledger.commit([ledger_row(at)])
        ledger.close()
        if at == 0:
            compact(folder, {})
    ledger = open_ledger("open")
    ledger.commit([ledger_row(2), ledger_row(3)])
    ledger.withdraw([("k0", 0), ("k1", 0), ("k2", 0)])
    assert keys(folder) == ["k3"]
    ledger.close()
    compact(folder, {})
    assert keys(folder) == ["k3"]


def test_image_made_after_its_withdrawal_is_there_once(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """Redoing replaces a row."""
    ledger = open_ledger()
    ledger.commit([ledger_row(0)])
    ledger.seal()
    ledger.withdraw([K0])
    ledger.commit([ledger_row(0, made=2)])
    assert committed(folder) == {K0: f"{2:016x}"}
    ledger.close()


def test_image_index_is_part_of_the_key(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """Two images of a row are two."""
    ledger = open_ledger()
    ledger.commit([ledger_row(0, 0), ledger_row(0, 1)])
    ledger.withdraw([("k0", 1)])
    assert list(committed(folder)) == [("k0", 0)]
    ledger.close()


def test_long_journal_is_sealed_into_a_part(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """Journals stay short, so that a start never reads millions of lines."""
    ledger = open_ledger()
    for n in range(7):
        ledger.commit([ledger_row(n)])
    names = sorted(path.name for path in folder.parts.iterdir())
    assert names == ["00000001-r1.parquet", "00000002-r1.parquet"]
    assert [path.name for path in folder.journals.iterdir()] == ["00000003-r1.jsonl"]
    assert len(keys(folder)) == 7
    ledger.close()


def test_closed_ledger_has_no_journal(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """A start that did nothing leaves nothing; one that did leaves a part."""
    open_ledger().close()
    assert list(folder.journals.iterdir()) == list(folder.parts.iterdir()) == []
    ledger = open_ledger()
    ledger.commit([ledger_row(0)])
    ledger.close()
    assert list(folder.journals.iterdir()) == []
    assert keys(folder) == ["k0"]


def test_journals_of_several_dead_starts_are_sealed(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """Each start has a journal of its own, whatever became of those before."""
    for n in range(4):
        dead = open_ledger(f"dead{n}")
        dead.commit([ledger_row(n)])
        dead.abandon()
    assert keys(folder) == ["k0", "k1", "k2", "k3"]
    open_ledger("alive").close()
    assert list(folder.journals.iterdir()) == []
    assert keys(folder) == ["k0", "k1", "k2", "k3"]


def test_part_stands_for_the_journal_it_was_made_of(
    folder: JobFolder, open_ledger: OpenLedger, tmp_path: Path
) -> None:
    """A crash after the rename leaves both; the rows count once."""
    ledger = open_ledger()
    ledger.commit([ledger_row(0)])
    shutil.copytree(folder.journals, tmp_path / "journals")
    ledger.close()
    shutil.copytree(tmp_path / "journals", folder.journals, dirs_exist_ok=True)
    assert keys(folder) == ["k0"]
    open_ledger("next").close()
    compact(folder, {})
    assert keys(folder) == ["k0"]
    assert list(folder.journals.iterdir()) == []


def test_state_survives_seal_close_and_start(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """Failures, rungs and suspicions are known to the next start."""
    ledger = open_ledger()
    ledger.fail(FAILURE)
    ledger.seal()
    ledger.rung(*RUNG)
    ledger.suspect([K0], "died")
    ledger.close()
    compact(folder, {})
    found = open_ledger("next").state
    assert found.failures == {K9: FAILURE}
    assert found.rungs == {"64x64": "slicing"}
    assert found.suspects[K0].alone == ["r1"]


def dead_start(open_ledger: OpenLedger, folder: JobFolder, last_words: str) -> None:
    """Leave what a process leaves that died while it made k0 and k1."""
    ledger = open_ledger("dead")
    ledger.start([K0, K1])
    folder.crash_note("dead").write_text(last_words)
    ledger.abandon()


def test_fatal_signal_makes_suspects_of_the_batch_in_flight(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """The reason is the first line of the stack that the signal left."""
    dead_start(open_ledger, folder, "Fatal Python error: Aborted\n\nThread 0x1")
    found = open_ledger("next").state
    assert set(found.suspects) == {K0, K1}
    assert found.suspects[K0].reason == "Fatal Python error: Aborted"
    assert found.suspects[K0].runs == ["dead"]
    assert not folder.crash_note("dead").exists()


def test_plain_kill_makes_no_suspects(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """`kill -9` leaves no last words."""
    dead_start(open_ledger, folder, "")
    assert open_ledger("next").state.suspects == {}


def test_committed_batch_is_not_in_flight(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """Who is done did not kill the process."""
    ledger = open_ledger("dead")
    ledger.start([K0, K1])
    ledger.commit([ledger_row(0), ledger_row(1)])
    folder.crash_note("dead").write_text("Fatal Python error: Aborted")
    ledger.abandon()
    assert open_ledger("next").state.suspects == {}


def test_failed_image_is_not_in_flight(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """Its failure is on record; what killed the process came after it."""
    ledger = open_ledger("dead")
    ledger.start([K9])
    ledger.fail(FAILURE)
    folder.crash_note("dead").write_text("Fatal Python error: Aborted")
    ledger.abandon()
    assert open_ledger("next").state.suspects == {}


def test_sealing_takes_the_batch_in_flight_along(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """The journal that a crash leaves knows what was being made, though sealed in between."""
    ledger = open_ledger("dead")
    ledger.start([K1])
    ledger.commit([ledger_row(n) for n in (5, 6, 7)])
    folder.crash_note("dead").write_text("Fatal Python error: Aborted")
    ledger.abandon()
    assert list(open_ledger("next").state.suspects) == [K1]


def test_sealing_takes_the_batches_of_all_workers_along(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """Of two that made an image each, nobody knows which one died of the signal."""
    ledger = open_ledger("dead")
    ledger.start([K1])
    ledger.start([K0], worker=1)
    ledger.commit([ledger_row(n) for n in (5, 6, 7)])
    folder.crash_note("dead").write_text("Fatal Python error: Aborted")
    ledger.abandon()
    suspects = open_ledger("next").state.suspects
    assert set(suspects) == {K0, K1}
    assert not any(suspect.alone for suspect in suspects.values())


def test_threads_commit_side_by_side(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """Saving threads and the loop write to one journal."""
    ledger = open_ledger()
    threads = [threading.Thread(target=ledger.commit, args=([ledger_row(n)],)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    assert len(keys(folder)) == 20


def test_torn_part_is_refused_by_name(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """Not a renamed file can be torn by a crash, so this is damage, and says what mends it."""
    ledger = open_ledger()
    ledger.commit([ledger_row(0)])
    ledger.close()
    part = next(folder.parts.iterdir())
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(FolderError, match=rf"{part}.*does not open.*verify --repair"):
        read_contents(folder)


def test_advice_for_a_torn_part_names_the_jobs_folder(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """The command can be pasted."""
    test_torn_part_is_refused_by_name(folder, open_ledger)
    with pytest.raises(FolderError) as caught:
        read_contents(folder)
    assert str(caught.value).endswith(f"--repair {folder.root}")


def test_foreign_metadata_is_refused(folder: JobFolder) -> None:
    """A metadata.parquet that was written over by another program is no ledger's."""
    folder.create()
    pd.DataFrame({"file_name": ["a.png"]}).to_parquet(folder.metadata)
    with pytest.raises(
        FolderError, match=r"metadata\.parquet does not open as a file that batchgen wrote"
    ):
        read_contents(folder)


def test_reader_misses_nothing_while_a_journal_is_sealed(
    folder: JobFolder, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal becomes a part between two looks of the reader."""
    ledger = open_ledger()
    ledger.commit([ledger_row(0)])
    interrupted(monkeypatch, by=ledger.seal)
    assert keys(folder) == ["k0"]
    ledger.close()


def test_reader_misses_nothing_while_parts_are_compacted(
    folder: JobFolder, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part is merged and deleted between two looks of the reader."""
    ledger = open_ledger()
    ledger.commit([ledger_row(0)])
    ledger.close()
    interrupted(monkeypatch, by=lambda: compact(folder, {}), before_the_first_look=True)
    assert keys(folder) == ["k0"]


def test_reader_doubles_nothing_while_parts_are_compacted(
    folder: JobFolder, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part is merged, and not yet deleted, between two looks of the reader."""
    for n in range(2):
        ledger = open_ledger(f"r{n}")
        ledger.commit([ledger_row(n)])
        ledger.close()
        if n == 0:
            compact(folder, {})

    def contents(_: JobFolder) -> Contents:
        found = read_contents(folder)
        monkeypatch.setattr(reader, "read_contents", read_contents)
        compact(folder, {})
        return found

    monkeypatch.setattr(compaction, "remove_covered", lambda *_: None)
    monkeypatch.setattr(reader, "read_contents", contents)
    assert keys(folder) == ["k0", "k1"]


def interrupted(
    monkeypatch: pytest.MonkeyPatch,
    by: Callable[[], object],
    *,
    before_the_first_look: bool = False,
) -> None:
    """Let something happen once while a reader lists the folder."""
    listed = contents_module.numbered
    left = [by]

    def numbered(place: Path, suffix: str) -> Iterator[tuple[int, Path]]:
        found = [] if before_the_first_look else list(listed(place, suffix))
        if left:
            left.pop()()
        return iter(list(listed(place, suffix)) if before_the_first_look else found)

    monkeypatch.setattr(contents_module, "numbered", numbered)


def test_ledger_opens_beside_debris(folder: JobFolder, open_ledger: OpenLedger) -> None:
    """Temporary files of a crash, and files of others, are passed over."""
    folder.create()
    (folder.parts / ".00000001-r0.parquet.tmp").write_bytes(b"half")
    (folder.parts / "notes.txt").write_text("mine")
    (folder.journals / "backup.jsonl").write_text("mine")
    ledger: Ledger = open_ledger()
    ledger.commit([ledger_row(0)])
    ledger.close()
    assert keys(folder) == ["k0"]
