"""A job's config from keyword arguments, as `batchgen.run` takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchgen.cli.compose import Composer
from batchgen.config.device import DeviceKind
from batchgen.config.groups import names
from batchgen.config.job import ImageFormat, JobConfig, OnChange, StopConfig
from batchgen.config.models import DemoModel, FakeModel, SdxlModel
from batchgen.config.names import config_from, config_of_job, plain
from batchgen.config.reading import ReadingConfig
from batchgen.config.sampling import SamplingConfig
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
        ({"model": "sd15"}, f"model='sd15' is not one of {', '.join(names('model'))}."),
        ({"device": "npu"}, "device='npu' is not one of ascend, auto, cpu."),
        ({"images": "gif"}, f"images='gif' is not one of {', '.join(names('images'))}."),
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


NAMES = [
    (group, name)
    for group in ("model", "device", "images", "executor", "sampling")
    for name in names(group)
]


@pytest.mark.parametrize(("group", "name"), NAMES)
def test_command_line_python_and_job_json_know_the_same_names(group: str, name: str) -> None:
    """Each file of conf/ is one name for all three, and comes to one config."""
    config = config_from({"table": "t.csv", group: name})
    assert Composer().job(["table=t.csv", f"{group}={name}"]) == config
    content = {"config": plain(config), "model_class": type(config.model).__name__}
    assert config_of_job(json.loads(json.dumps(content))) == config


def test_a_model_of_the_command_line_is_one_of_python() -> None:
    """Not only those with a class of their own."""
    model = config_from({"table": "t.csv", "model": "sdxl-turbo"}).model
    assert (model.name, model.width) == ("sdxl-turbo", 512)


def test_a_preset_may_be_named_and_gives_way_to_what_is_said_beside_it() -> None:
    """It brings its model and its adapters, too."""
    settings = {"table": "t.csv", "sampling": "turbo"}
    assert config_from(settings).model.name == "sdxl-turbo"
    assert config_from({**settings, "model": "demo"}).model == DemoModel()
    assert config_from({**settings, "model": {"vae_tiling": "on"}}).model.name == "sdxl-turbo"
    adapters = config_from({"table": "t.csv", "sampling": "lcm-4"}).adapters
    assert adapters["lcm"].weight_name == "pytorch_lora_weights.safetensors"


def test_a_dict_with_the_name_of_a_model_is_that_model() -> None:
    """The rest of it comes on top."""
    model = config_from({"table": "t.csv", "model": {"name": "fake", "fail_rows": [3]}}).model
    assert model == FakeModel(fail_rows=[3])
    own = config_from({"table": "t.csv", "model": {"name": "mine", "path": "mine"}}).model
    assert own == SdxlModel(name="mine", path="mine")


def test_all_problems_are_said_at_once() -> None:
    """Names, keys and values alike."""
    wrong = {"model": "sd15", "images": "gif", "sampling": {"widht": 1, "steps": "x"}, "sede": 1}
    with pytest.raises(ConfigError) as caught:
        config_from({"table": "t.csv", **wrong})
    culprits = {problem.partition("=")[0].partition(" ")[0] for problem in caught.value.problems}
    assert culprits == {"model", "images", "sampling.widht", "sampling.steps", "sede"}


def test_what_stands_for_a_number_or_a_text_is_taken() -> None:
    """Numpy's scalars and paths, as they come out of tables and `pathlib`."""
    values = {"seed": np.int64(4), "sampling": {"guidance_scale": np.float32(5), "steps": 9}}
    config = config_from({"table": Path("a/t.csv"), **values})
    assert (config.table, config.seed, config.sampling.guidance_scale) == ("a/t.csv", 4, 5.0)
    assert {type(config.seed), type(config.sampling.guidance_scale)} == {int, float}


@pytest.mark.parametrize("form", [lambda scalar: scalar, np.asarray], ids=["scalar", "array"])
def test_numbers_texts_and_truth_of_numpy_are_those_of_python(form: Any) -> None:
    """By keyword and in the configs themselves; a float32 is the decimal that was written."""
    sampling = {
        "steps": form(np.uint16(5)),
        "guidance_scale": form(np.float32(7.1)),
        "weighting": form(np.bool_(True)),
        "scheduler": np.str_("ddim"),
    }
    reading = {"carry": np.array(["a", "b"]), "columns": {"seed": np.str_("s")}}
    model = {"fail_rows": np.arange(2), "oom_above_batch": form(np.int8(3))}
    by_name = config_from({
        "table": "t.csv",
        "model": {"name": "fake", **model},
        "sampling": sampling,
        "reading": reading,
        "limit": form(np.int64(3)),
        "stop": {"max_hours": form(np.float16(1.5))},
    })  # fmt: skip
    made = JobConfig(
        table="t.csv",
        model=FakeModel(**model),
        sampling=SamplingConfig(**sampling),
        reading=ReadingConfig(**reading),  # type: ignore[arg-type]
        limit=form(np.int64(3)),
        stop=StopConfig(max_hours=form(np.float16(1.5))),
    ).validated()
    expected = config_from({
        "table": "t.csv",
        "model": {"name": "fake", "fail_rows": [0, 1], "oom_above_batch": 3},
        "sampling": {"steps": 5, "guidance_scale": 7.1, "weighting": True, "scheduler": "ddim"},
        "reading": {"carry": ["a", "b"], "columns": {"seed": "s"}},
        "limit": 3,
        "stop": {"max_hours": 1.5},
    })  # fmt: skip
    assert json.dumps(plain(by_name)) == json.dumps(plain(made)) == json.dumps(plain(expected))


def test_a_value_that_is_long_or_of_several_lines_is_told_in_one() -> None:
    """A frame or an array is not printed whole."""
    assert refusal(batch_size="x" * 500) == f"batch_size='{'x' * 79}... is not a whole number."
    assert refusal(sampling=np.eye(2)).startswith("sampling=array([[1., 0.], [0., 1.]]) is not")
    assert refusal(sampling={5: 1}).startswith("sampling.5 is no setting; there are: steps, ")
    assert refusal(seed=np.bool_(True)) == "seed=True is not a whole number."


def test_a_wrong_value_deep_down_is_named_by_its_key() -> None:
    """As it would stand on the command line, with its place in a list."""
    assert refusal(model={"name": "fake", "fail_rows": [1, "x"]}) == (
        "model.fail_rows.1='x' is not a whole number."
    )
    assert refusal(adapters={"film": {"path": 5}}).startswith("adapters.film.path=5 is not text.")
