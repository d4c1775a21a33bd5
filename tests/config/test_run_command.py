"""The command that makes a job again."""

from __future__ import annotations

import shlex

import pytest

from batchgen.cli.compose import Composer
from batchgen.config.run_command import run_command

GIVEN = [
    ["table=t.csv"],
    ["table=a b.csv", "name=it's", "model=sdxl-turbo", "seeds=[1,2,3]", "limit=2"],
    ["table=t.csv", "model=sdxl-base", "model.name=mine", "model.path=/models/mine.safetensors"],
    ["table=t.csv", "model=fake", "model.fail_rows=[1]", "seeds=0..9", "images=webp"],
    ["table=t.csv", "adapters.film.hub_id=me/film", "sampling.lora='film:0.5'"],
    ["table=t.csv", "sampling=turbo", "sampling.negative_prompt=blurry, ugly"],
    ["table=t.csv", "reading.columns.prompt=text", "reading.drop=[a,'b c']"],
]


@pytest.mark.parametrize("overrides", GIVEN)
def test_the_command_gives_the_same_config(overrides: list[str]) -> None:
    """Presets and groups end as what they say."""
    config = Composer().job(overrides)
    words = shlex.split(run_command(config))
    assert words[:2] == ["batchgen", "run"]
    assert Composer().job(words[2:]) == config


def test_the_command_says_no_default_and_no_shard() -> None:
    """All shards together are the job."""
    config = Composer().job(["table=t.csv", "model=fake", "shard=1/2", "sampling.steps=4"])
    assert run_command(config) == "batchgen run table=t.csv model=fake sampling.steps=4"
