"""Batches made in this process."""

from __future__ import annotations

import pytest
from conftest import MakeConfig, WritePrompts

from batchgen.config.models import FakeModel
from batchgen.executors.local import PipelineCache
from batchgen.pipelines.fake import FakePipeline
from batchgen.runner.identity import Job


def test_model_is_loaded_once_for_jobs_that_share_it(
    prompts: WritePrompts, fake_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And closed when another one comes, and at the end."""
    closed: list[FakePipeline] = []

    def close(pipeline: FakePipeline) -> None:
        closed.append(pipeline)

    monkeypatch.setattr(FakePipeline, "close", close)
    table, cache = prompts(1), PipelineCache()
    one = cache.get(Job.identify(fake_config(table, name="a")))
    assert cache.get(Job.identify(fake_config(table, name="b", seed=7))) is one
    other = cache.get(Job.identify(fake_config(table, model=FakeModel(batch_sensitive=True))))
    assert other is not one
    cache.close()
    assert closed == [one, other]
