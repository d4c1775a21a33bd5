"""The one table of settings: what is derived from it, and what a setting to come changes."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import pytest

from batchgen.config.sampling import SamplingConfig
from batchgen.config.setting_row import Hashed, Setting
from batchgen.config.settings import IMAGES_PER_PROMPT, SETTINGS, Settings
from batchgen.ledger.schema import FAILURES, METADATA
from batchgen.plan import fingerprint
from batchgen.table.columns import ROWS

LEAST: dict[str, Any] = {"prompt": "a cat", "prompt_2": None, "seed": 1, "width": 64, "height": 64}
"""What has no default."""


def plain(hint: Any) -> Any:
    """Return a type without None."""
    return next((kind for kind in get_args(hint) if kind is not type(None)), hint)


def test_settings_without_a_default_are_those_that_must_be_given() -> None:
    """Only a row or a model can say them."""
    assert Settings(**LEAST).steps == 20
    assert {name for name, row in SETTINGS.items() if row.default is None} == {*LEAST}


def test_a_job_may_say_what_has_a_default_and_the_size() -> None:
    """Each field of `sampling` is a setting, of the same type, with the table's default."""
    hints, values = get_type_hints(SamplingConfig), SamplingConfig().values()
    defaults = {name: row.default for name, row in SETTINGS.items() if row.default is not None}
    assert values == {**defaults, "width": None, "height": None}
    for name in values:
        kind = SETTINGS[name].choices or SETTINGS[name].kind
        assert plain(hints[name]) is kind, name


def test_every_setting_is_a_column_of_both_files() -> None:
    """Under one name, which is `text` for the prompt."""
    for columns in (METADATA, FAILURES):
        names = [column.name for column in columns]
        assert {row.metadata_column for row in SETTINGS.values()} <= {*names}
        assert "text" in names
        assert "prompt" not in names


def test_settings_come_back_from_their_columns() -> None:
    """A row of the metadata is enough; a column that came later, or is null, is the default."""
    settings = Settings(**LEAST, steps=7, lora="film:0.5", weighting=True)
    columns = settings.as_columns()
    assert Settings.from_columns(columns) == settings
    del columns["weighting"]
    columns["unet_cache"] = None
    assert Settings.from_columns(columns) == dataclasses.replace(settings, weighting=False)


def test_no_alias_means_two_settings() -> None:
    """Nor is one the name of another."""
    names = [name for row in ROWS.values() for name in (row.name, *row.aliases)]
    assert len(names) == len({*names})


@pytest.mark.parametrize("row", [*SETTINGS.values(), IMAGES_PER_PROMPT])
def test_a_default_is_in_its_own_range(row: Setting) -> None:
    """And what it means is a phrase for the pages of docs/."""
    assert row.default is None or row.problem(row.default) is None
    assert row.meaning.strip()
    assert not row.meaning.endswith(".")


def test_a_later_setting_enters_no_fingerprint_where_it_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that images made before it was known keep theirs."""
    settings = Settings(**LEAST)
    columns = {name: pa.array([getattr(settings, name)]) for name in SETTINGS}
    columns["prompt_2"] = pa.array([None], pa.string())
    before = fingerprint.settings_hashes(columns).tolist()
    later = Setting("a shade", default=0.5, name="shade", kind=float)
    assert later.hashed is Hashed.later
    monkeypatch.setattr(fingerprint, "_LATER", [later])
    hashes = [
        fingerprint.settings_hashes({**columns, "shade": pa.array([value])}).tolist()
        for value in (0.5, 0.6, 0.7)
    ]
    assert hashes[0] == before
    assert len({before[0], *(one for (one,) in hashes)}) == 3
