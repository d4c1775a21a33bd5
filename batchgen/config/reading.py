"""How a prompt table is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from batchgen.config.identity_marks import OF_NOTHING
from batchgen.config.validation import number_problem, prefixed


@dataclass(kw_only=True)
class ReadingConfig:
    """How the table is read."""

    encoding: str = "utf-8"
    delimiter: str | None = None
    """One character, or `tab`; None goes by the suffix: a tab for .tsv, else a comma."""
    quote: str | None = None
    """One character, or `none` for literal quotes; None is literal in TSV, `"` in CSV."""
    columns: dict[str, str] = field(default_factory=dict)
    """Setting name to the table's own column name, such as prompt: caption_en."""
    comments: str | None = None
    """Text files only: what a line begins with that is no prompt, such as `#`."""
    carry: list[str] | None = field(default=None, metadata=OF_NOTHING)
    """The columns that go into the metadata beside those that are used; None is all that hold no
    pictures."""
    drop: list[str] = field(default_factory=list, metadata=OF_NOTHING)
    """Columns that do not go into the metadata."""
    max_prompt_chars: int = 8000

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each field that cannot be used."""
        values = {"max_prompt_chars": number_problem(self.max_prompt_chars, 1, 10**7, whole=True)}
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError):
            values["encoding"] = "is not an encoding Python knows"
        if self.delimiter not in (None, "tab", "\\t") and len(str(self.delimiter)) != 1:
            values["delimiter"] = "is neither one character nor tab"
        if self.quote not in (None, "none") and len(str(self.quote)) != 1:
            values["quote"] = "is neither one character nor none"
        yield from prefixed("reading.", values, self)
