"""What a table may be besides one file, and what it may not."""

from __future__ import annotations

import shlex

import pytest

from batchgen.errors import TableError
from batchgen.table import files_of


@pytest.mark.parametrize("table", ["-", "/dev/stdin", "/proc/self/fd/0"])
def test_standard_input_is_refused_with_a_way(table: str) -> None:
    """A table is read twice, and a resume reads it again."""
    with pytest.raises(TableError, match=r"is standard input.* > prompts\.csv"):
        files_of(table)


@pytest.mark.parametrize("scheme", ["https", "s3", "hf", "OBS"])
def test_a_url_is_refused_with_a_way(scheme: str) -> None:
    """For those of the web, with the command."""
    url = f"{scheme}://example.org/a b.csv"
    with pytest.raises(TableError, match="is a URL") as caught:
        files_of(url)
    if scheme == "https":
        command = shlex.split(str(caught.value).partition("first: ")[2])
        assert command == ["curl", "-fLO", url]
