"""The columns of the metadata: documented, named without clashes, and honest about what repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batchgen.ledger.schema import FAILURES, METADATA, carried_name, schema
from tools.metadata_page import markdown

ISSUE = {
    "file_name", "text", "negative_prompt", "row_key", "row_index", "image_index", "seed", "rng",
    "steps", "guidance_scale", "scheduler", "width", "height", "model", "model_revision", "dtype",
    "device", "batch_size", "latency_s", "encode_s", "denoise_s", "decode_s", "peak_memory_bytes",
    "batch_id", "batch_position", "pixel_sha256", "file_sha256", "fingerprint", "attempt",
    "run_id", "created_at",
}  # fmt: skip


def test_the_page_on_metadata_is_what_the_code_prints() -> None:
    """`python -m tools.metadata_page > docs/metadata.md` mends it."""
    page = Path(__file__).parents[2] / "docs" / "metadata.md"
    assert page.read_text(encoding="utf-8") == markdown()


def test_every_column_the_issue_asks_for_is_there() -> None:
    """Under the very names."""
    assert {column.name for column in METADATA} >= ISSUE


def test_every_column_is_documented_with_its_type() -> None:
    """One line of a table each, and no line is broken by a bar in the text."""
    page = markdown()
    for column in (*METADATA, *FAILURES):
        star = "" if column.repeats else " *"
        assert f"| `{column.name}`{star} | {column.type} | {column.meaning} |\n" in page
        assert "|" not in column.meaning


def test_only_times_memory_and_who_made_it_may_differ_between_two_runs() -> None:
    """The columns named in the issue, and no others."""
    named = {"created_at", "run_id", "attempt", "peak_memory_bytes", "warm_up"}
    differing = {column.name for column in METADATA if not column.repeats}
    assert differing == named | {c.name for c in METADATA if c.name.endswith("_s")}


def test_text_columns_are_string_and_file_name_comes_first() -> None:
    """ImageFolder wants a `string` column file_name, not a large_string, and no Map."""
    fields = schema(METADATA)
    assert (fields.names[0], fields.types[0]) == ("file_name", pa.string())
    assert not [f for f in fields if pa.types.is_large_string(f.type) or pa.types.is_map(f.type)]
    assert len(set(fields.names)) == len(fields.names)


def test_the_tables_own_columns_come_last_with_their_types() -> None:
    """In the order of the table."""
    carried: list[Any] = [pa.field("mood", pa.string()), pa.field("seed", pa.int8())]
    fields = schema(METADATA, pa.schema(carried))
    assert fields.names[-2:] == ["mood", "table_seed"]
    assert fields.types[-2:] == [pa.string(), pa.int8()]


@pytest.mark.parametrize(
    ("name", "in_metadata"),
    [
        ("mood", "mood"),
        ("seed", "table_seed"),
        ("text", "table_text"),
        ("Text", "table_Text"),
        ("image", "table_image"),
        ("Image", "table_Image"),
        ("file_name", "table_file_name_"),
        ("mask_file_name", "table_mask_file_name_"),
        ("table_seed", "table_table_seed"),
        ("table_mood", "table_mood"),
        ("中文", "中文"),
        ("prompt", "prompt"),
    ],
)
def test_a_name_that_is_taken_or_misleads_a_reader_is_prefixed(name: str, in_metadata: str) -> None:
    """Names that are free stay as they are."""
    assert carried_name(name) == in_metadata


def test_no_carried_name_ends_in_what_imagefolder_takes_for_a_picture() -> None:
    """Neither `image` nor `..._file_name` but our own."""
    for name in ("image", "x_file_name", "table_x_file_name", "_file_name", "file_name"):
        renamed = carried_name(name)
        assert not renamed.endswith("_file_name")
        assert renamed not in {"image", "file_name"}


def test_two_columns_get_two_names() -> None:
    """Also where the prefix itself is in use."""
    names = ("seed", "table_seed", "image", "table_image", "x_file_name", "table_x_file_name")
    assert len({carried_name(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "names", [("table_seed", "table_table_seed"), ("x_file_name", "table_x_file_name_")]
)
def test_two_columns_get_two_names_however_odd(names: tuple[str, ...]) -> None:
    """A Parquet file with a name twice is one that readers refuse."""
    assert len({carried_name(name) for name in names}) == len(names)
