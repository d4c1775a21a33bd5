"""What files withdraw from those before them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from conftest import OpenLedger, ledger_row

from batchgen.ledger import withdrawals as module
from batchgen.ledger.contents import Contents, read_contents
from batchgen.ledger.reader import n_committed
from batchgen.ledger.records import Key
from batchgen.ledger.withdrawals import Withdrawals
from batchgen.plan.backlog import hashed_keys
from batchgen.plan.fingerprint import Hashes
from batchgen.storage.folder import JobFolder

KEYS = [(f"k{n}", 0) for n in range(4)]


def remade(ledger_of: OpenLedger, n_parts: int, n_rows: int) -> None:
    """Withdraw images that no file has, and make them, in parts of so many rows."""
    ledger = ledger_of()
    for part in range(n_parts):
        numbers = range(part * n_rows, (part + 1) * n_rows)
        ledger.withdraw([(f"k{n}", 0) for n in numbers])
        ledger.commit([ledger_row(n) for n in numbers])
        ledger.seal()
    ledger.close()


def test_only_files_before_the_last_withdrawal_lose_a_row(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """An image that was made again stays, and one that was withdrawn again goes."""
    ledger = open_ledger()
    for keys in (KEYS[:2], KEYS[1:3], KEYS[1:2]):
        ledger.withdraw(keys)
        ledger.seal()
    ledger.close()
    withdrawals = Withdrawals.of(read_contents(folder))
    found = [withdrawals.among(hashed_keys(KEYS), number).tolist() for number in range(4)]
    assert found == [
        [True, True, True, False],
        [False, True, True, False],
        [False, True, False, False],
        [False, False, False, False],
    ]
    assert [withdrawals.concern(number) for number in (0, 2, 3)] == [True, True, False]


def test_without_withdrawals_nothing_is() -> None:
    """A folder that is new, or was compacted."""
    withdrawals = Withdrawals.of(Contents())
    assert not withdrawals.concern(0)
    assert not withdrawals.among(np.arange(3, dtype=np.uint64), 0).any()


def test_each_withdrawal_is_hashed_once_however_many_files_there_are(
    folder: JobFolder, open_ledger: OpenLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for each file before it, a million images made again took a quarter of an hour."""
    remade(open_ledger, n_parts=12, n_rows=5)
    hashed: list[Key] = []

    def counting(keys: Iterable[Key]) -> Hashes:
        named = list(keys)
        hashed.extend(named)
        return hashed_keys(named)

    monkeypatch.setattr(module, "hashed_keys", counting)
    assert n_committed(read_contents(folder)) == 12 * 5
    assert len(hashed) == len({*hashed}) == 12 * 5
