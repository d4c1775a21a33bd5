"""docs/metadata.md, printed from the columns: `python -m tools.metadata_page`."""

from __future__ import annotations

import sys

from batchgen.ledger.schema import FAILURES, METADATA

_EPILOGUE = """

In metadata.parquet the table's own columns follow: plain Parquet types stay, text stays text,
nested values become JSON text. A name that is taken, or that would mislead the ImageFolder reader
of `datasets` (`image`, and names that end in `_file_name`), is prefixed with `table_`.

The file's key-value metadata holds `batchgen.versions` (JSON: the software behind each value of
`environment`) and `batchgen.ledger` (JSON: what a resume needs to know).
"""


def markdown() -> str:
    """Return docs/metadata.md."""
    parts = [
        "# The columns batchgen writes",
        "",
        "Printed by `python -m tools.metadata_page`; a test keeps this page equal to it.",
        "",
        "Columns marked * may differ between two runs of the same job; all others repeat exactly.",
    ]
    files = (
        (
            "metadata.parquet",
            METADATA,
            "One row per finished image, ordered by row and image index.",
        ),
        ("failures.parquet", FAILURES, "One row per image that failed and was not made since."),
    )
    for name, columns, intro in files:
        parts += ["", f"## {name}", "", intro, "", "| column | type | meaning |", "|---|---|---|"]
        for column in columns:
            star = "" if column.repeats else " *"
            parts.append(f"| `{column.name}`{star} | {column.type} | {column.meaning} |")
    return "\n".join(parts) + _EPILOGUE


if __name__ == "__main__":
    sys.stdout.write(markdown())
