"""The set of what is done, as it is compared with a table."""

from __future__ import annotations

import numpy as np
from conftest import OpenLedger, ledger_row

from batchgen.ledger.contents import read_contents
from batchgen.ledger.finished import load_finished
from batchgen.storage.folder import JobFolder


def test_finished_images_are_sorted_by_key_with_their_numbers(
    folder: JobFolder, open_ledger: OpenLedger
) -> None:
    """The number is that of the file name, for names of any length."""
    one = open_ledger()
    far = {**ledger_row(5), "file_name": "images/100000/1000000003-0.png"}
    one.commit([ledger_row(1), far, ledger_row(12_345, 3)])
    one.close()
    finished, _ = load_finished(read_contents(folder))
    assert np.all(np.diff(finished.key.astype(object)) > 0)
    assert sorted(finished.number.tolist()) == [1, 12_345, 1_000_000_003]
