"""Whole runs over tables that nobody here wrote: PartiPrompts and GenEval."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import batchgen

PROMPTS = Path(__file__).parents[3] / "shared" / "prompts"

pytestmark = pytest.mark.skipif(not PROMPTS.is_dir(), reason="the prompt tables are not here")


def test_all_of_partiprompts_runs_as_it_is(tmp_path: Path) -> None:
    """1,632 rows of TSV with literal quotes give each prompt as it stands in its line."""
    table = PROMPTS / "PartiPrompts.tsv"
    lines = table.read_text(encoding="utf-8").split("\n")[1:]
    result = batchgen.run(
        table=str(table), output_root=str(tmp_path), model="fake", images="webp", batch_size=8,
        sampling={"width": 64, "height": 64},
    )  # fmt: skip
    metadata = batchgen.read_metadata(result.folder)
    assert result.n_done == 1632
    assert metadata["text"].tolist() == [line.split("\t")[0] for line in lines if line]
    assert metadata["Category"].tolist() == [line.split("\t")[1] for line in lines if line]


def test_all_of_geneval_runs_with_nested_columns_as_json_text(tmp_path: Path) -> None:
    """GenEval's JSON Lines give each prompt, and what was nested as JSON that reads back."""
    table = PROMPTS / "geneval.jsonl"
    rows = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
    result = batchgen.run(
        table=str(table), output_root=str(tmp_path), model="fake", images="webp", batch_size=8,
        sampling={"width": 64, "height": 64},
    )  # fmt: skip
    metadata = batchgen.read_metadata(result.folder)
    assert metadata["text"].tolist() == [row["prompt"] for row in rows]
    assert [json.loads(text) for text in metadata["include"]] == [row["include"] for row in rows]
