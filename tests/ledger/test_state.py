"""What a job remembers besides its images; replaying it changes nothing."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.ledger import events
from batchgen.ledger.events import Event
from batchgen.ledger.records import Key
from batchgen.ledger.state import LedgerState

KEYS = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 1))
RUNS = st.sampled_from(["run1", "run2", "run3"])


def done(*keys: Key) -> events.Done:
    """The event of finished images."""
    return events.Done(tuple({"row_key": key, "image_index": at} for key, at in keys))


def fail(key: Key, attempt: int = 1) -> events.Fail:
    """The event of a failed image."""
    return events.Fail(
        {"row_key": key[0], "image_index": key[1], "attempt": attempt, "message": "no"}
    )


def suspect(*keys: Key, run_id: str = "run1") -> events.Suspect:
    """The event of a start that ended on images."""
    return events.Suspect(keys, run_id, run_id)


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
            lambda rung: events.Rung("64x64", rung)
        ),
        st.just(events.Reset()),
        st.just(events.Start(())),
        st.just(events.Void((("a", 0),))),
    ),
    max_size=12,
)


def state_of(*all_of: Event) -> LedgerState:
    """Return what events add up to."""
    state = LedgerState()
    for event in all_of:
        state.apply(event)
    return state


@given(EVENTS)
@settings(max_examples=200, deadline=None)
def test_replay_changes_nothing(drawn: list[Event]) -> None:
    """A crash may leave events both in a part's notes and in its journal."""
    assert state_of(*drawn, *drawn) == state_of(*drawn)


@given(EVENTS, st.integers(0, 12))
@settings(max_examples=200, deadline=None)
def test_replay_of_the_last_journal_changes_nothing(drawn: list[Event], at: int) -> None:
    """An old journal is sealed with the state of all later ones, which are read again."""
    assert state_of(*drawn, *drawn[at:]) == state_of(*drawn)


@given(EVENTS)
@settings(max_examples=100, deadline=None)
def test_state_survives_json(drawn: list[Event]) -> None:
    """As they travel in the notes of a Parquet file."""
    state = state_of(*drawn)
    assert LedgerState.from_json(json.loads(json.dumps(state.as_json()))) == state


def test_finished_image_is_no_failure_any_more() -> None:
    """A retry that worked clears the record."""
    state = state_of(fail(("a", 0)), suspect(("a", 0), ("b", 0)), done(("a", 0)))
    assert state.failures == {}
    assert list(state.suspects) == [("b", 0)]


def test_last_failure_of_an_image_stands() -> None:
    """One row a failed image, with its last attempt."""
    state = state_of(fail(("a", 0)), fail(("a", 0), attempt=2))
    assert [failure["attempt"] for failure in state.failures.values()] == [2]


def test_failure_ends_the_suspicion() -> None:
    """Its deaths are in the attempts of the failure, and do not count twice."""
    state = state_of(suspect(("a", 0)), fail(("a", 0), attempt=3))
    assert state.suspects == {}
    assert state.failures["a", 0]["attempt"] == 3


def test_only_deaths_alone_are_charged() -> None:
    """In company an image is suspected, and made alone from then on."""
    both, alone = ("a", 0), ("b", 0)
    state = state_of(suspect(both, alone), suspect(alone, run_id="run2"))
    assert state.suspects[both].alone == []
    assert state.suspects[alone].alone == ["run2"]
    assert state.suspects[alone].runs == ["run1", "run2"]


def test_reset_leaves_the_rungs() -> None:
    """`retry.failed=true` forgets failures and suspicions, not what the memory holds."""
    rung = events.Rung("64x64", "slicing")
    state = state_of(fail(("a", 0)), suspect(("b", 0)), rung, events.Reset())
    assert state == LedgerState(rungs={"64x64": "slicing"})
