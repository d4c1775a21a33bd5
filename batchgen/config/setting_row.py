"""One row of the table in `config.settings`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from batchgen.config.validation import number_problem


class Hashed(Enum):
    """How a setting enters the fingerprint of an image; see `plan.fingerprint`."""

    text = "its length and its text, null as empty"
    word = "its value"
    seed = "mixed in by itself, as it differs from image to image"
    adapters = "with the hash of each adapter's file; not at all where it names none"
    later = "its name and value; not at all where it is the default"


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything about a setting except its effect."""

    meaning: str
    default: Any = None
    """The value where neither job nor row gives one; None where there is no such value."""
    low: float | None = None
    """Least number that is allowed; None for what is no number."""
    high: float = 0
    multiple_of: int = 1
    choices: type[Enum] | None = None
    """The words that are allowed, for a setting of few."""
    check: Callable[[object], str | None] | None = None
    """Returns what is wrong with a value, for a setting with rules of its own."""
    spelling: Callable[[str], str] | None = None
    """Returns the canonical spelling of a text that has several."""
    in_table: bool = False
    """Whether a row of the prompt table may say it."""
    aliases: tuple[str, ...] = ()
    """Other names of its column, in lower case with underscores."""
    is_shared: bool = False
    """Whether the images of a batch must agree in it."""
    hashed: Hashed = Hashed.later
    label: str | None = None
    """Its key in the `parameters` text."""
    column: str | None = None
    """Its column in the metadata, where that has another name."""
    name: str = ""
    """That of its field; filled in from `Settings`."""
    kind: type = str
    """`str`, `int`, `float` or `bool`; filled in from `Settings`."""

    def problem(self, value: object) -> str | None:
        """Say what is wrong with a value, of a job or of a row, or return None."""
        if self.check is not None:
            return self.check(value)
        if self.low is None:
            return None
        is_whole = self.kind is int
        return number_problem(
            value, self.low, self.high, whole=is_whole, multiple_of=self.multiple_of
        )

    @property
    def is_free_text(self) -> bool:
        """Whether any text will do."""
        return self.kind is str and self.check is None and self.choices is None

    @property
    def metadata_column(self) -> str:
        """Its column in metadata.parquet and failures.parquet."""
        return self.column or self.name
