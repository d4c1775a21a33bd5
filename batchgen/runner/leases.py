"""Which worker makes which batch, and what follows when one dies. No process, disk or ledger."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from itertools import count

from batchgen.plan.requests import Batch

_UNCOUNTED_AFTER = 10
_BLAMED_AT = 2


class Leases:
    """The batches of one pass: those to come, and those that workers hold."""

    def __init__(self, todo: Iterator[Batch], room: int, numbers: count[int]) -> None:
        """Begin a pass.

        Args:
            todo: The batches, read as they are wanted.
            room: Batches a worker holds at most.
            numbers: The numbers of leases, those of earlier passes used up.
        """
        self._todo = todo
        self._room = room
        self._numbers = numbers
        self._ahead: Batch | None = None
        self._back: deque[Batch] = deque()
        self._last: deque[Batch] = deque()
        self._held: dict[int, dict[int, Batch]] = {}
        self._deaths: Counter[str] = Counter()
        self._suspects: set[str] = set()

    @property
    def n_held(self) -> int:
        """Batches that workers hold."""
        return sum(map(len, self._held.values()))

    def has_room(self, worker: int) -> bool:
        """Whether a worker may hold another batch."""
        return len(self._held.get(worker, ())) < self._room

    @property
    def is_over(self) -> bool:
        """Whether all is made."""
        return not (self.n_held or self._back or self._last or self._has_new())

    def _has_new(self) -> bool:
        if self._ahead is None:
            self._ahead = next(self._todo, None)
        return self._ahead is not None

    def next(self) -> tuple[Batch, bool] | None:
        """Return a batch to be made, and whether it comes for the first time; None at the end.

        Those that came back go first, and those that killed workers last.
        """
        if self._back:
            return self._back.popleft(), False
        if self._has_new() and self._ahead is not None:
            batch, self._ahead = self._ahead, None
            return batch, True
        return (self._last.popleft(), False) if self._last else None

    def give(self, worker: int, batch: Batch) -> int:
        """Note that a worker holds a batch, and return the number of the lease."""
        number = next(self._numbers)
        self._held.setdefault(worker, {})[number] = batch
        return number

    def ended(self, worker: int, number: int) -> Batch | None:
        """Return the batch of a lease that is over; None where it was taken away before."""
        return self._held.get(worker, {}).pop(number, None)

    def put_back(self, batch: Batch) -> None:
        """Let a batch be made by the next worker that has room."""
        self._back.appendleft(batch)

    def died(self, worker: int, *, is_crash: bool) -> Batch | None:
        """Take back what a worker held, and return the batch that its death is blamed on.

        The batch it was making is blamed where it left a note of a crash, and where it is the
        second worker that died over it. Its images come last, each alone, and are blamed for every
        death from then on; the caller says what is charged to them.
        """
        held = list(self._held.pop(worker, {}).values())
        if not held:
            return None
        making, *waiting = held
        for batch in reversed(waiting):
            self.put_back(batch)
        self._deaths[making.batch_id] += 1
        is_again = self._deaths[making.batch_id] >= _BLAMED_AT or making.batch_id in self._suspects
        if not is_crash and not is_again:
            self.put_back(making)
            return None
        alone = [Batch((image,)) for image in making.pending]
        self._suspects.update(batch.batch_id for batch in alone)
        self._last.extend(alone)
        return making

    def retired(self, worker: int) -> None:
        """Take back what a worker held whose device is lost; nothing is blamed."""
        for batch in reversed(list(self._held.pop(worker, {}).values())):
            self.put_back(batch)


class Restarts:
    """How often workers may be replaced; those between which images were made do not count."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._n_images = 0

    def made(self, n_images: int) -> None:
        """Note images that were committed."""
        self._n_images += n_images

    def allow(self) -> bool:
        """Return whether another worker may take the place of one that died, and count it."""
        is_free = self._n_images >= _UNCOUNTED_AFTER
        self._n_images = 0
        if is_free:
            return True
        self._left -= 1
        return self._left >= 0
