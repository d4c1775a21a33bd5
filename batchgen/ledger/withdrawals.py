"""What the files of a folder withdraw from those before them, looked up in columns.

A job that makes a million images again withdraws each of them, in thousands of parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchgen.ledger.contents import Contents
from batchgen.plan.backlog import hashed_keys
from batchgen.plan.fingerprint import Hashes


@dataclass(frozen=True, slots=True)
class Withdrawals:
    """The keys that were withdrawn, 16 bytes for each."""

    keys: Hashes
    """Each once, sorted."""
    last: NDArray[np.int64]
    """The sequence number of the last file that withdraws each."""

    @classmethod
    def of(cls, contents: Contents) -> Withdrawals:
        """Return what is withdrawn in a folder."""
        sources = [source for source in contents.sources if source.voids]
        hashed = [hashed_keys(source.voids) for source in sources]
        keys = np.concatenate([np.zeros(0, dtype=np.uint64), *hashed])
        numbers = np.repeat(
            np.array([source.sequence for source in sources], dtype=np.int64),
            np.array([len(own) for own in hashed], dtype=np.int64),
        )
        order = np.lexsort((numbers, keys))
        keys, numbers = keys[order], numbers[order]
        is_last = np.ones(len(keys), dtype=bool)
        is_last[:-1] = keys[1:] != keys[:-1]
        return cls(keys[is_last], numbers[is_last])

    def among(self, keys: Hashes, sequence: int) -> NDArray[np.bool_]:
        """Return which keys of a file's rows a later file withdraws, (n,).

        Args:
            keys: Of the rows, as hashes, (n,).
            sequence: The number of their file.
        """
        if not len(self.keys):
            return np.zeros(len(keys), dtype=bool)
        at = np.searchsorted(self.keys, keys)
        at[at == len(self.keys)] = 0
        is_later: NDArray[np.bool_] = (self.keys[at] == keys) & (self.last[at] > sequence)
        return is_later

    def concern(self, sequence: int) -> bool:
        """Whether any of them may be of a file with this number."""
        return bool(len(self.last)) and bool((self.last > sequence).any())
