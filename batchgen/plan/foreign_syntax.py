"""Syntax of other tools in prompts: drawn as it stands, and told once a kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from batchgen.config.job import JobConfig
from batchgen.table import Rows

_compute: Any = pc


class Kind(NamedTuple):
    """One kind of syntax."""

    name: str
    pattern: str
    """A regular expression that both re and RE2 read."""
    instead: str
    """What there is here for it."""


WEIGHTS = Kind(
    "a prompt weight",
    r"\([^()]+:\s*[0-9]*\.?[0-9]+\s*\)|\(\([^()]+\)\)",
    "sampling.weighting=true reads them",
)

KINDS = (
    Kind(
        "an option of Midjourney",
        r"(?:^|\s)--(?:ar|aspect|v|version|niji|s|stylize|c|chaos|q|quality|seed|no|style|iw|tile"
        r"|weird|stop|test|hd|uplight|upbeta|sref|cref|raw|repeat)(?:\s|$)",
        "size, seed and negative prompt are columns of the table",
    ),
    Kind(
        "a comment",
        r"^\s*#(?:\s|$)",
        "reading.comments='#' leaves them out of a text file",
    ),
    Kind(
        "a wildcard",
        r"__[A-Za-z0-9][A-Za-z0-9_*/.-]*__",
        "write a row for each choice",
    ),
    Kind(
        "a choice",
        r"\{[^{}]*\|[^{}]*\}|\[[^\[\]|]+\|[^\[\]]+\]",
        "write a row for each choice",
    ),
    Kind(
        "a place to fill in",
        r"\{(?:prompt|subject|style|text|input|caption)\}",
        "write the whole prompt in each row",
    ),
    Kind(
        "a LoRA tag",
        r"<(?:lora|lyco|hypernet):[^<>]+>",
        "adapters of the job and the column lora say it",
    ),
    Kind(
        "a break between chunks",
        r"(?:^|[\s,])BREAK(?:[\s,]|$)",
        "sampling.long_prompt=chunk encodes long prompts in chunks",
    ),
    Kind(
        "an edit between steps",
        r"\[[^\[\]]*:[^\[\]]*:\s*[0-9]*\.?[0-9]+\s*\]",
        "a prompt is the same in all steps",
    ),
    Kind(
        "an embedding",
        r"(?i)(?:^|[\s,(<])embedding:\w",
        "textual inversion is not read",
    ),
    WEIGHTS,
)

_ANY = r"--|__|[#{\[<]|\(\(|:\s*[0-9.]+\s*\)|BREAK|(?i:embedding:)"
"""What a prompt with any of them has in it: most have not, and one look does."""

_TEXTS = ("prompt", "prompt_2", "negative_prompt")


class ForeignSyntax:
    """Counts the rows whose prompts hold syntax of other tools."""

    def __init__(self, config: JobConfig) -> None:
        """Take the job's config, whose negative prompt is looked at as well."""
        self._kinds = [k for k in KINDS if not (k is WEIGHTS and config.sampling.weighting)]
        self._n_rows = dict.fromkeys(self._kinds, 0)
        self._first: dict[Kind, str] = {}
        for kind in self._kinds:
            if found := re.search(kind.pattern, config.sampling.negative_prompt or ""):
                self._first[kind] = f"{found[0].strip()!r} in sampling.negative_prompt"

    def add(self, rows: Rows, limit: int) -> None:
        """Look at a run of rows; those from `limit` on are not drawn."""
        n_rows = min(rows.settings.num_rows, max(0, limit - rows.first_index))
        columns = [rows.settings[name].slice(0, n_rows) for name in _TEXTS]
        columns = [column for column in columns if column.null_count < n_rows]
        looked_at = np.zeros(n_rows, dtype=bool)
        for column in columns:
            looked_at |= _matches(column, _ANY)
        positions = np.flatnonzero(looked_at)
        for kind in self._kinds if len(positions) else ():
            has_it = np.zeros(len(positions), dtype=bool)
            for column in columns:
                has_it |= _matches(column.take(positions), kind.pattern)
            self._n_rows[kind] += int(np.count_nonzero(has_it))
            if has_it.any() and self._n_rows[kind] == np.count_nonzero(has_it):
                at = int(positions[np.argmax(has_it)])
                texts = (column[at].as_py() or "" for column in columns)
                found = next(m for text in texts if (m := re.search(kind.pattern, text)))
                self._first.setdefault(kind, f"{found[0].strip()!r} in row {rows.first_index + at}")

    def notes(self) -> Iterator[str]:
        """Yield a line for each kind that is there."""
        for kind, first in self._first.items():
            n_rows = self._n_rows[kind]
            count = f" ({n_rows:,} rows have one)" if n_rows > 1 else ""
            yield (
                f"{first} is {kind.name} elsewhere, and drawn as it stands here{count}: "
                f"{kind.instead}; see Syntax of other tools in docs/sampling.md"
            )


def _matches(column: Any, pattern: str) -> Any:
    found = _compute.fill_null(_compute.match_substring_regex(column, pattern), False)
    return found.to_numpy(zero_copy_only=False)
