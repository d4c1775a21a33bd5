"""The journal: what was appended is read, whatever happened to the rest of the file."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.errors import StorageError
from batchgen.ledger.journal import EventJson, Journal, decode, encode, read_events

PROMPT = "a cat\n“猫” \x00 \u2028 \ud800 end"
EVENTS: list[EventJson] = [
    {"type": "schema", "schema": "AAAA"},
    {"type": "start", "keys": [["k0", 0], ["k1", 0]]},
    {"type": "done", "rows": [{"row_key": "k0", "text": PROMPT, "latency_s": 0.1}]},
    {"type": "done", "rows": [{"row_key": "k1", "text": "", "latency_s": None}]},
    {"type": "void", "keys": [["k1", 0]]},
]
CONTENT = b"".join(encode(event) for event in EVENTS)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def events_of(content: bytes) -> list[EventJson]:
    """Return the events of a journal with these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "1-r.jsonl"
        path.write_bytes(content)
        return list(read_events(path))


def with_checksum(text: bytes) -> bytes:
    """Return a journal line that says anything at all."""
    return b"%08x %s\n" % (zlib.crc32(text), text)


def is_in_order(events: list[EventJson], of: list[EventJson]) -> bool:
    """Whether events are some of others, in their order."""
    rest = iter(of)
    return all(event in rest for event in events)


@given(st.dictionaries(st.text(max_size=5), VALUES))
@settings(deadline=None)
def test_event_survives_its_line(event: EventJson) -> None:
    """Any JSON value, any text; one line each."""
    line = encode(event)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == event


def test_journal_is_read_in_order(tmp_path: Path) -> None:
    """What was appended comes back as it was."""
    journal = Journal(tmp_path / "1-r.jsonl")
    for event in EVENTS:
        journal.append(event)
    journal.close()
    assert list(read_events(journal.path)) == EVENTS


def test_any_cut_keeps_what_was_whole() -> None:
    """A torn last line costs itself only; its newline may be missing."""
    lines = [encode(event) for event in EVENTS]
    ends = [len(b"".join(lines[: n + 1])) - 1 for n in range(len(lines))]
    for cut in range(len(CONTENT) + 1):
        n_whole = sum(end <= cut for end in ends)
        assert events_of(CONTENT[:cut]) == EVENTS[:n_whole]


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_a_damaged_byte_costs_its_line_and_never_makes_an_event(at: int, change: int) -> None:
    """At most the lines on both sides of a newline are lost; none comes out different."""
    damaged = bytearray(CONTENT)
    damaged[at] ^= change
    events = events_of(bytes(damaged))
    assert is_in_order(events, EVENTS)
    assert len(events) >= len(EVENTS) - 2


@given(st.integers(0, len(CONTENT)), st.integers(0, len(CONTENT)), st.binary(max_size=30))
@settings(max_examples=300, deadline=None)
def test_a_hole_or_foreign_bytes_never_make_an_event(start: int, end: int, new: bytes) -> None:
    """Whatever replaces whatever, what is read was written."""
    start, end = sorted((start, end))
    assert is_in_order(events_of(CONTENT[:start] + new + CONTENT[end:]), EVENTS)


@given(st.binary(max_size=200) | st.binary(max_size=60).map(with_checksum))
@settings(max_examples=500, deadline=None)
def test_nonsense_is_passed_over(content: bytes) -> None:
    """Not even nonsense with the right checksum is more than a torn line."""
    assert all(isinstance(event, dict) for event in events_of(content))


def test_endless_nesting_is_a_torn_line() -> None:
    """The one nonsense that the JSON reader answers with something else than ValueError."""
    assert decode(with_checksum(b"[" * 200_000)) is None


def test_torn_line_is_logged_with_its_number(caplog: pytest.LogCaptureFixture) -> None:
    """The log says which journal and which line."""
    events_of(encode(EVENTS[0]) + b"torn")
    assert "1-r.jsonl, line 2 is torn" in caplog.text


def test_append_is_on_disk_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit record outlives a loss of power; notes need not."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    journal = Journal(tmp_path / "1-r.jsonl")
    journal.append(EVENTS[0], durable=False)
    assert synced == []
    journal.append(EVENTS[1])
    assert len(synced) == 1
    journal.close()


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system may take a few bytes at a time."""
    write = os.write
    journal = Journal(tmp_path / "1-r.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:7]))
        journal.append(EVENTS[2])
    journal.close()
    assert list(read_events(journal.path)) == [EVENTS[2]]


def test_full_disk_names_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fatal to the job, in a sentence."""

    def write(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal = Journal(tmp_path / "1-r.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(StorageError, match=r"1-r\.jsonl: No space left.*bytes are free"):
            journal.append(EVENTS[0])
    journal.close()


def test_journal_never_opens_a_file_that_is_there(tmp_path: Path) -> None:
    """Every start has a journal of its own: nothing is written after a torn line."""
    Journal(tmp_path / "1-r.jsonl").close()
    with pytest.raises(StorageError, match="File exists"):
        Journal(tmp_path / "1-r.jsonl")


def test_a_journal_has_the_rights_of_any_other_file(tmp_path: Path) -> None:
    """The umask says who may write; nobody may execute it."""
    before = os.umask(0o002)
    try:
        journal = Journal(tmp_path / "1-r.jsonl")
        journal.close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o664
