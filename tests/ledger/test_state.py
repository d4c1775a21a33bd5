"""What a job remembers besides its images; replaying it changes nothing."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.ledger.state import Facts

KEYS = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 1))
RUNS = st.sampled_from(["run1", "run2", "run3"])


def done(*keys: tuple[str, int]) -> dict[str, Any]:
    """The event of finished images."""
    return {"type": "done", "rows": [{"row_key": key, "image_index": at} for key, at in keys]}


def fail(key: tuple[str, int], attempt: int = 1) -> dict[str, Any]:
    """The event of a failed image."""
    failure = {"row_key": key[0], "image_index": key[1], "attempt": attempt, "message": "no"}
    return {"type": "fail", "failure": failure}


def suspect(*keys: tuple[str, int], run_id: str = "run1") -> dict[str, Any]:
    """The event of a start that ended on images."""
    return {"type": "suspect", "keys": [list(k) for k in keys], "run_id": run_id, "reason": run_id}


EVENTS = st.lists(
    st.one_of(
        st.lists(KEYS, min_size=1, max_size=2, unique=True).map(lambda keys: done(*keys)),
        st.builds(fail, KEYS, st.integers(1, 3)),
        st.builds(
            lambda keys, run_id: suspect(*keys, run_id=run_id),
            st.lists(KEYS, min_size=1, max_size=2, unique=True),
            RUNS,
        ),
        st.sampled_from(["slicing", "slicing,batch=2"]).map(
            lambda rung: {"type": "rung", "size": "64x64", "rung": rung}
        ),
        st.just({"type": "forgive"}),
        st.just({"type": "start", "keys": []}),
        st.just({"type": "unknown"}),
    ),
    max_size=12,
)


def facts_of(*events: dict[str, Any]) -> Facts:
    """Return what events add up to."""
    facts = Facts()
    for event in events:
        facts.apply(event)
    return facts


@given(EVENTS)
@settings(max_examples=200, deadline=None)
def test_replay_changes_nothing(events: list[dict[str, Any]]) -> None:
    """A crash may leave events both in a part's notes and in its journal."""
    assert facts_of(*events, *events) == facts_of(*events)


@given(EVENTS, st.integers(0, 12))
@settings(max_examples=200, deadline=None)
def test_replay_of_the_last_journal_changes_nothing(events: list[dict[str, Any]], at: int) -> None:
    """An old journal is sealed with the facts of all later ones, which are read again."""
    assert facts_of(*events, *events[at:]) == facts_of(*events)


@given(EVENTS)
@settings(max_examples=100, deadline=None)
def test_facts_survive_json(events: list[dict[str, Any]]) -> None:
    """As they travel in the notes of a Parquet file."""
    facts = facts_of(*events)
    assert Facts.from_json(json.loads(json.dumps(facts.as_json()))) == facts


def test_finished_image_is_no_failure_any_more() -> None:
    """A retry that worked clears the record."""
    facts = facts_of(fail(("a", 0)), suspect(("a", 0), ("b", 0)), done(("a", 0)))
    assert facts.failures == {}
    assert list(facts.suspects) == [("b", 0)]


def test_last_failure_of_an_image_stands() -> None:
    """One row a failed image, with its last attempt."""
    facts = facts_of(fail(("a", 0)), fail(("a", 0), attempt=2))
    assert [failure["attempt"] for failure in facts.failures.values()] == [2]


def test_failure_ends_the_suspicion() -> None:
    """Its deaths are in the attempts of the failure, and do not count twice."""
    facts = facts_of(suspect(("a", 0)), fail(("a", 0), attempt=3))
    assert facts.suspects == {}
    assert facts.failures["a", 0]["attempt"] == 3


def test_only_deaths_alone_are_charged() -> None:
    """In company an image is suspected, and made alone from then on."""
    both, alone = ("a", 0), ("b", 0)
    facts = facts_of(suspect(both, alone), suspect(alone, run_id="run2"))
    assert facts.suspects[both].alone == []
    assert facts.suspects[alone].alone == ["run2"]
    assert facts.suspects[alone].runs == ["run1", "run2"]


def test_forgiving_leaves_the_rungs() -> None:
    """`retry.failed=true` forgets failures and suspicions, not what the memory holds."""
    rung = {"type": "rung", "size": "64x64", "rung": "slicing"}
    facts = facts_of(fail(("a", 0)), suspect(("b", 0)), rung, {"type": "forgive"})
    assert facts == Facts(rungs={"64x64": "slicing"})
