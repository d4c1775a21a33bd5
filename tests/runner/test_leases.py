"""Which worker makes which batch, and what follows when one dies."""

from __future__ import annotations

from itertools import count

import pytest
from conftest import image_of

from batchgen.plan.requests import Batch
from batchgen.runner.leases import Leases, Restarts


def batch(*rows: int) -> Batch:
    """Return a batch of some rows."""
    return Batch(tuple(image_of(row) for row in rows))


def leases(*batches: Batch, room: int = 2) -> Leases:
    """Return the leases of a pass."""
    return Leases(iter(batches), room, count(1))


def take(of: Leases, worker: int) -> tuple[int, Batch]:
    """Give a worker the next batch."""
    found = of.next()
    assert found is not None
    return of.give(worker, found[0]), found[0]


def test_a_worker_holds_as_many_as_it_may() -> None:
    """And has room again once one is over."""
    of = leases(batch(0), batch(1), batch(2))
    take(of, 7)
    assert of.has_room(7)
    number, second = take(of, 7)
    assert not of.has_room(7)
    assert of.has_room(8)
    assert of.ended(7, number) is second
    assert of.has_room(7)


def test_a_report_of_a_lease_that_was_taken_away_is_known() -> None:
    """So that it changes nothing."""
    of = leases(batch(0))
    number, _ = take(of, 1)
    assert of.died(1, is_crash=False) is None
    assert of.ended(1, number) is None
    assert of.ended(2, 99) is None


def test_a_death_without_a_note_blames_the_second_time() -> None:
    """Its images come last then, each alone."""
    of = leases(batch(0, 1), batch(2))
    take(of, 1)
    assert of.died(1, is_crash=False) is None
    again, whole = take(of, 2)
    assert whole.batch_id == batch(0, 1).batch_id
    assert again == 2
    blamed = of.died(2, is_crash=False)
    assert blamed is not None
    assert blamed.batch_id == whole.batch_id
    rows = [[one.row_index for one in take(of, 3)[1].requests] for _ in range(3)]
    assert rows == [[2], [0], [1]]
    assert of.next() is None


def test_a_note_of_a_crash_blames_at_once_and_only_what_was_made() -> None:
    """What the worker had not begun goes on as it was, before anything new."""
    of = leases(batch(0, 1), batch(2, 3), batch(4))
    take(of, 1)
    take(of, 1)
    blamed = of.died(1, is_crash=True)
    assert blamed is not None
    assert [one.row_index for one in blamed.requests] == [0, 1]
    found = [of.next(), of.next()]
    assert [(one[0].requests[0].row_index, one[1]) for one in found if one] == [
        (2, False), (4, True)
    ]  # fmt: skip


def test_a_worker_that_held_nothing_leaves_nothing() -> None:
    """It died while it waited."""
    of = leases(batch(0))
    assert of.died(5, is_crash=True) is None
    assert not of.is_over


def test_the_pass_is_over_when_all_came_back() -> None:
    """Not when all is given."""
    of = leases(batch(0))
    number, _ = take(of, 1)
    assert not of.is_over
    of.ended(1, number)
    assert of.is_over


def test_a_lost_device_blames_nothing() -> None:
    """Others make what it held, in its order."""
    of = leases(batch(0), batch(1))
    take(of, 1)
    take(of, 1)
    of.retired(1)
    assert [take(of, 2)[1].requests[0].row_index for _ in range(2)] == [0, 1]


@pytest.mark.parametrize(("n_images", "allowed"), [(9, 2), (10, 5)])
def test_restarts_that_got_on_are_not_counted(n_images: int, allowed: int) -> None:
    """Ten images between two deaths."""
    restarts = Restarts(2)
    given = []
    for _ in range(5):
        restarts.made(n_images)
        given.append(restarts.allow())
    assert given.count(True) == allowed
