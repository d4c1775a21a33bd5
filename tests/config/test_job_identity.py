"""What of a config tells one job from another, and the numbers that are raised."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pyarrow as pa
import pytest
from conftest import MakeConfig, RunJob, WritePrompts

from batchgen.config import revisions
from batchgen.config.job import ImagesConfig, JobConfig
from batchgen.config.job_identity import of_job, of_part, of_point
from batchgen.config.names import plain
from batchgen.config.settings import Settings
from batchgen.errors import JobChanged
from batchgen.plan import fingerprint
from batchgen.runner import identity


@pytest.fixture(params=["pipeline.fake", "scheduler.euler", "setting.clip_skip"])
def raised(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One thing after the other has another number than in 0.1.0; return which."""
    thing = str(request.param)
    numbers: Mapping[str, int] = {thing: 2}
    for module in (revisions, fingerprint, identity):
        monkeypatch.setattr(module, "REVISIONS", numbers)
    return thing


def test_only_fields_that_say_so_are_in_an_identity() -> None:
    """Where and how a job runs is in none."""
    config = JobConfig(table="t.csv", name="x", limit=3)
    job = {"sampling", "seed", "seeds", "images_per_prompt", "batch_size", "reading", "images"}
    assert {*of_job(config)} == job
    assert of_point(config) == {"model_class": "SdxlModel", "table": "t.csv"}


def test_fields_of_a_nested_config_that_came_later_are_in_where_they_are_not_the_default() -> None:
    """Those of 0.1.0 always are."""
    kind = dataclasses.make_dataclass("Later", [("effort", int, dataclasses.field(default=4))])
    assert of_part(kind()) == {}
    assert of_part(kind(effort=5)) == {"effort": 5}
    assert of_part(ImagesConfig()) == plain(ImagesConfig())


def test_the_name_of_a_point_knows_seeds_by_their_values(fake_config: MakeConfig) -> None:
    """A range and the list of its numbers are one point."""
    assert of_point(fake_config(seeds="0..2")) == of_point(fake_config(seeds=[0, 1, 2]))


def test_a_raised_number_refuses_only_what_it_concerns(
    raised: str, run_job: RunJob, prompts: WritePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that can differ now are not mixed with those of before."""
    prompts(2)
    with monkeypatch.context() as before:
        for module in (revisions, fingerprint, identity):
            before.setattr(module, "REVISIONS", {})
        run_job()
        run_job(name="skipping", sampling={"clip_skip": 1})
    if raised == "setting.clip_skip":
        assert run_job().n_made == 0
    else:
        with pytest.raises(JobChanged):
            run_job()
    with pytest.raises(JobChanged):
        run_job(name="skipping", sampling={"clip_skip": 1})


def test_a_number_that_was_not_raised_changes_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a scheduler, say, that the image does not use."""
    settings = Settings(prompt="a", prompt_2=None, seed=1, width=64, height=64).as_columns()
    columns = {name: pa.array([value]) for name, value in settings.items()}
    columns |= {"prompt": columns["text"], "prompt_2": pa.array([None], pa.string())}
    before = fingerprint.settings_hashes(columns).tolist()
    monkeypatch.setattr(fingerprint, "REVISIONS", {"scheduler.ddim": 2, "prediction.epsilon": 2})
    assert fingerprint.settings_hashes(columns).tolist() == before
