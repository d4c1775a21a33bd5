"""Events and their form on disk, which no version may change."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchgen.ledger import events
from batchgen.ledger.events import Event, MisshapenEvent, UnknownEvent
from batchgen.ledger.journal import encode, read_events
from batchgen.ledger.notes import NOTES, PartNotes

SAMPLES = Path(__file__).parents[1] / "samples" / "jobs-0.1.0"
JOURNALS = sorted(SAMPLES.rglob(".batchgen/journals/*.jsonl"))
PARTS = sorted(SAMPLES.rglob(".batchgen/parts/*.parquet"))
SCHEMA = pa.schema([("row_key", pa.string())])
SCHEMA_TEXT = base64.b64encode(SCHEMA.serialize().to_pybytes()).decode()
K0, K1 = ("k0", 0), ("k1", 2)
ROW = {"row_key": "k0", "row_index": 0, "image_index": 0, "carried": {"note": "猫"}}
ROW_TEXT = '{"row_key":"k0","row_index":0,"image_index":0,"carried":{"note":"\\u732b"}}'

ON_DISK: list[tuple[Event, str]] = [
    (events.Schema(SCHEMA), f'{{"type":"schema","schema":"{SCHEMA_TEXT}"}}'),
    (
        events.Schema(SCHEMA, "ab12"),
        f'{{"type":"schema","schema":"{SCHEMA_TEXT}","table":"ab12"}}',
    ),
    (events.Start((K0, K1)), '{"type":"start","keys":[["k0",0],["k1",2]]}'),
    (events.Start((K0,), 3), '{"type":"start","keys":[["k0",0]],"worker":3}'),
    (events.Done((ROW,)), f'{{"type":"done","rows":[{ROW_TEXT}]}}'),
    (events.Void((K0,)), '{"type":"void","keys":[["k0",0]]}'),
    (events.Fail(ROW), f'{{"type":"fail","failure":{ROW_TEXT}}}'),
    (
        events.Suspect((K1,), "run1", "SIGSEGV"),
        '{"type":"suspect","keys":[["k1",2]],"run_id":"run1","reason":"SIGSEGV"}',
    ),
    (events.Rung("64x64", "slicing"), '{"type":"rung","size":"64x64","rung":"slicing"}'),
    (events.Clear((K0,)), '{"type":"clear","keys":[["k0",0]]}'),
    (events.Reset(), '{"type":"forgive"}'),
    (events.Drop((K0,)), '{"type":"drop","keys":[["k0",0]]}'),
    (events.Undrop(), '{"type":"undrop"}'),
]


@pytest.mark.parametrize(("event", "text"), ON_DISK)
def test_event_has_its_one_form_on_disk(event: Event, text: str) -> None:
    """To the byte, and back."""
    assert encode(events.as_json(event))[9:-1].decode() == text
    assert events.parse(json.loads(text)) == event


def test_every_kind_is_pinned() -> None:
    """A new kind decides on its form here."""
    assert {type(event) for event, _ in ON_DISK} == set(events.Event.__args__)


@pytest.mark.parametrize("path", JOURNALS, ids=lambda path: path.parents[3].name)
def test_journals_of_0_1_0_are_read_and_written_the_same(path: Path) -> None:
    """Each line, to the byte."""
    lines = [encode(events.as_json(events.parse(content))) for content in read_events(path)]
    assert len(lines) > 1
    assert b"".join(lines) == path.read_bytes()


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.parents[3].name)
def test_notes_of_parts_of_0_1_0_are_read_and_written_the_same(path: Path) -> None:
    """To the byte."""
    notes = PartNotes.read(path)
    written = (pq.read_metadata(path).metadata or {})[NOTES]
    assert PartNotes.encode(notes.voids, notes.events) == written


@pytest.mark.parametrize("kind", ["sealed", "", None, 5, ["start"]])
def test_unknown_kind_is_refused_by_name(kind: Any) -> None:
    """As that of a version to come."""
    with pytest.raises(UnknownEvent, match=re.escape(f"an event of type {kind!r}")):
        events.parse({"type": kind, "keys": []})


def test_keys_that_a_kind_does_not_have_are_passed_over() -> None:
    """A later version may say more of an event that this one knows."""
    assert events.parse({"type": "forgive", "why": "asked"}) == events.Reset()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"type": "schema", "schema": "AAAA"}, "ArrowInvalid"),
        ({"type": "schema", "schema": "no base64"}, "OSError"),
        ({"type": "start"}, "KeyError: 'keys'"),
        ({"type": "start", "keys": [["k0", 0]], "worker": "a"}, "'a' is not an integer"),
        ({"type": "void", "keys": [[["k0"], 0]]}, "['k0'] is not text"),
        ({"type": "done", "rows": [{}]}, "KeyError: 'row_key'"),
        ({"type": "done", "rows": [{**ROW, "carried": None}]}, "carried is None"),
        ({"type": "fail", "failure": [1]}, "[1] is not a row"),
        ({"type": "suspect", "keys": [], "run_id": 5, "reason": ""}, "5 is not text"),
    ],
)
def test_event_of_another_shape_is_refused_by_kind(content: dict[str, Any], what: str) -> None:
    """And says what is wrong with it."""
    kind = content["type"]
    with pytest.raises(MisshapenEvent, match=rf"'{kind}' of another shape .*{re.escape(what)}"):
        events.parse(content)
