"""A job's config from keyword arguments, as `batchgen.run` takes them."""

from __future__ import annotations

from typing import Any

import pytest

from batchgen.config.job import DeviceKind, ImageFormat, JobConfig, OnChange
from batchgen.config.models import DemoModel, FakeModel, SdxlModel
from batchgen.config.names import config_from
from batchgen.errors import ConfigError


def refusal(**settings: Any) -> str:
    """Return the message that settings are refused with, made or validated."""
    with pytest.raises(ConfigError) as caught:
        config_from({"table": "t.csv", **settings}).validated()
    return str(caught.value)


def test_a_table_alone_gives_the_defaults() -> None:
    """Nothing is written twice: keywords know no default of their own."""
    assert config_from({"table": "t.csv"}) == JobConfig(table="t.csv")


@pytest.mark.parametrize(
    ("name", "kind"), [("fake", FakeModel), ("demo", DemoModel), ("sdxl-base", SdxlModel)]
)
def test_a_model_may_be_named(name: str, kind: type) -> None:
    """The names are those of the command line."""
    assert type(config_from({"table": "t.csv", "model": name}).model) is kind


def test_one_word_stands_for_a_device_and_for_an_image_format() -> None:
    """As on the command line: device=cpu images=webp."""
    config = config_from({"table": "t.csv", "device": "cpu", "images": "jpeg"})
    assert config.device.kind is DeviceKind.cpu
    assert config.images.format is ImageFormat.jpeg


def test_nested_configs_may_be_dicts_and_keep_their_other_defaults() -> None:
    """A dict fills in what it names."""
    config = config_from({"table": "t.csv", "sampling": {"steps": 30}, "on_change": "keep"})
    assert (config.sampling.steps, config.sampling.guidance_scale) == (30, 7.5)
    assert config.on_change is OnChange.keep


def test_configs_are_taken_as_they_are() -> None:
    """A model with settings of its own is given as an object."""
    model = FakeModel(latency_s=0.2)
    assert config_from({"table": "t.csv", "model": model}).model == model


def test_a_config_is_not_changed_by_the_next() -> None:
    """Nothing is shared between two jobs."""
    first = config_from({"table": "t.csv", "sampling": {"steps": 30}})
    second = config_from({"table": "t.csv"})
    assert (first.sampling.steps, second.sampling.steps) == (30, 20)


@pytest.mark.parametrize(
    ("settings", "culprit"),
    [
        ({"widht": 64}, "widht is no setting; there are: table, name,"),
        ({"sampling": {"widht": 64}}, "sampling.widht is no setting; there are: steps,"),
        ({"model": "sd15"}, "model='sd15' is not one of sdxl-base, demo, fake."),
        ({"device": "npu"}, "device.kind='npu' is not one of auto, ascend, cpu."),
        ({"images": "gif"}, "images.format='gif' is not one of png, jpeg, webp."),
        ({"on_change": "redoo"}, "on_change='redoo' is not one of refuse, redo, keep."),
        ({"sampling": {"steps": "30"}}, "sampling.steps='30' is not a whole number."),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_those_that_do(
    settings: dict[str, Any], culprit: str
) -> None:
    """The message begins with the key, as on the command line."""
    assert refusal(**settings).startswith(culprit)


def test_a_missing_table_is_said() -> None:
    """There is no job without a table."""
    with pytest.raises(ConfigError, match="table is missing"):
        config_from({"name": "x"})


@pytest.mark.parametrize(
    "settings",
    [
        {"sampling": 5},
        {"name": 5},
        {"model": 5},
        {"on_change": 5},
        {"output_root": None},
        {"sampling": {"scheduler": []}},
        {"sampling": {"negative_prompt": 5}},
        {"reading": {"columns": None}},
        {"reading": {"encoding": None}},
        {"device": {"max_memory": 50}},
        {"images": {"lossless": "no"}},
    ],
)
def test_a_value_of_another_type_is_refused(settings: dict[str, Any]) -> None:
    """As Hydra refuses it on the command line; some of these run, as something else."""
    (key,) = settings
    assert key in refusal(**settings)


@pytest.mark.parametrize("field", ["negative_prompt", "steps", "guidance_scale", "scheduler"])
def test_none_is_refused_where_it_is_no_value(field: str) -> None:
    """Only width and height may be left to the model; None in a hash makes all settings equal."""
    assert field in refusal(sampling={field: None})
