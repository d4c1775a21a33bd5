"""The settings of a job: what each class refuses, and what stands for what."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from batchgen.config.device import DeviceConfig
from batchgen.config.job import (
    ImageFormat,
    ImagesConfig,
    JobConfig,
    RetryConfig,
    StopConfig,
    TimeoutConfig,
)
from batchgen.config.models import FakeModel, ModelConfig, SdxlModel
from batchgen.config.names import plain
from batchgen.config.reading import ReadingConfig
from batchgen.config.sampling import SamplingConfig
from batchgen.config.settings import SEED_LIMIT
from batchgen.errors import ConfigError
from batchgen.table.columns import ROWS


def seeds_problems(seeds: Any, **others: Any) -> list[str]:
    """Return what a job says of its seeds."""
    return list(JobConfig(table="t.csv", seeds=seeds, **others).problems())


def test_the_defaults_are_those_of_the_issue_and_have_no_problem() -> None:
    """A job of a table alone is valid: SDXL, 1024 x 1024, 20 steps, guidance 7.5."""
    config = JobConfig(table="t.csv").validated()
    assert (config.model.name, config.width, config.height) == ("sdxl-base", 1024, 1024)
    assert (config.sampling.steps, config.sampling.guidance_scale) == (20, 7.5)
    assert (config.output_root, config.batch_size, config.reading.max_prompt_chars) == (
        *("outputs", 1, 8000),
    )


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("steps", (1, 1000), (0, 1001, -1, 2.5, True, "20", None)),
        ("guidance_scale", (0, 7.5, 100), (-0.1, 100.1, math.nan, math.inf, "7", True)),
        ("width", (64, 1024, 8192), (0, 56, 65, 100, 8200, 64.0)),
        ("height", (64, 8192), (63, 8191)),
        ("images_per_prompt", (1, 10_000), (0, 10_001)),
        ("seed", (0, SEED_LIMIT - 1), (-1, SEED_LIMIT, 1.0)),
        ("scheduler", ("euler", "dpmpp_2m_karras"), ("Euler", "", None, "dpmsolver_sde")),
    ],
)
def test_a_sampling_setting_has_its_range(
    name: str, good: tuple[Any, ...], bad: tuple[Any, ...]
) -> None:
    """Both ends belong to a range; just outside, and of another type, is refused."""
    assert [ROWS[name].problem(value) for value in good] == [None] * len(good)
    assert None not in [ROWS[name].problem(value) for value in bad]


@pytest.mark.parametrize(
    ("part", "culprits"),
    [
        (SamplingConfig(steps=0, height=70), ["sampling.steps=0", "sampling.height=70"]),
        (ReadingConfig(encoding="klingon"), ["reading.encoding='klingon'"]),
        (ReadingConfig(delimiter=";;", quote=""), ["reading.delimiter=';;'", "reading.quote=''"]),
        (ReadingConfig(max_prompt_chars=0), ["reading.max_prompt_chars=0"]),
        (DeviceConfig(index=-1, max_memory="50"), ["device.index=-1", "device.max_memory='50'"]),
        (
            ImagesConfig(compress_level=10, quality=0),
            ["images.compress_level=10", "images.quality=0"],
        ),
        (
            RetryConfig(max_attempts=0, max_consecutive_failures=-1),
            ["retry.max_attempts=0", "retry.max_consecutive_failures=-1"],
        ),
        (TimeoutConfig(batch_s=0), ["timeout.batch_s=0"]),
        (StopConfig(max_hours=-1), ["stop.max_hours=-1"]),
        (ModelConfig(name="", width=100), ["model.width=100", "model.name=''"]),
        (
            FakeModel(latency_s=-1, oom_above_batch=-2),
            ["model.latency_s=-1", "model.oom_above_batch=-2"],
        ),
    ],
)
def test_each_part_names_the_key_and_the_value_that_is_wrong(
    part: SamplingConfig, culprits: list[str]
) -> None:
    """A problem begins with the key as it stands on the command line."""
    problems = list(part.problems())
    assert [problem.split(" is ")[0] for problem in problems] == culprits


@pytest.mark.parametrize("encoding", ["undefined", "a\0b"])
def test_an_encoding_python_chokes_on_is_a_problem_like_any_other(encoding: str) -> None:
    """Not every unknown encoding is a LookupError."""
    assert len(list(ReadingConfig(encoding=encoding).problems())) == 1


def test_words_stand_for_a_delimiter_and_a_quote_that_are_hard_to_type() -> None:
    """`tab` and `none` are words; one character is itself."""
    for reading in (ReadingConfig(delimiter="tab", quote="none"), ReadingConfig(delimiter=";")):
        assert list(reading.problems()) == []


def test_all_problems_of_all_parts_come_in_one_error() -> None:
    """`validated` raises once, with a sentence for each problem."""
    config = JobConfig(
        table="t.csv",
        batch_size=0,
        limit=0,
        sampling=SamplingConfig(width=65),
        retry=RetryConfig(max_attempts=0),
    )
    with pytest.raises(ConfigError) as caught:
        config.validated()
    assert len(caught.value.problems) == 4
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert "sampling.width=65 is not a multiple of 8." in caught.value.problems


@pytest.mark.parametrize(
    ("seeds", "values"),
    [("0..3", [0, 1, 2, 3]), (" 5 .. 5 ", [5]), ([7, 3], [7, 3]), ((1,), [1]), (range(2), [0, 1])],
)
def test_seeds_are_a_list_or_a_range_with_both_ends(seeds: Any, values: list[int]) -> None:
    """The order of a list is kept."""
    config = JobConfig(table="t.csv", seeds=seeds)
    assert list(config.problems()) == []
    assert list(config.seed_values() or ()) == values


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [
        ("0-99", "neither a list"),
        (5, "neither a list"),
        ({"a": 1}, "neither a list"),
        ("5..1", "holds no seed"),
        ([], "holds no seed"),
        ([1, "x"], "not a whole number"),
        ([True], "not a whole number"),
        ([-1], "not a whole number"),
        (f"0..{SEED_LIMIT}", "not a whole number"),
        ([1, 2, 1], "holds a seed twice"),
    ],
)
def test_seeds_of_another_form_are_refused_with_the_reason(seeds: Any, reason: str) -> None:
    """What is wrong with the seeds is said in one sentence."""
    (problem,) = seeds_problems(seeds)
    assert reason in problem


def test_seeds_do_not_go_together_with_images_per_prompt() -> None:
    """Each seed is one image."""
    (problem,) = seeds_problems("0..3", images_per_prompt=2)
    assert "images_per_prompt" in problem


def test_more_seeds_than_a_row_can_have_are_refused() -> None:
    """A slip of the keyboard must not ask for 2**63 images a row."""
    assert seeds_problems(f"0..{SEED_LIMIT - 1}")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a\nb", "/abs"])
def test_a_name_that_is_not_one_visible_folder_is_refused(name: str) -> None:
    """A job's folder is a child of output_root, and readers can see it."""
    (problem,) = JobConfig(table="t.csv", name=name).problems()
    assert problem.startswith(f"name={name!r} would leave 'outputs'")


def test_a_name_no_file_system_takes_is_refused() -> None:
    """File names end at 255 bytes."""
    assert list(JobConfig(table="t.csv", name="猫" * 100).problems())


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("cats.csv", "cats"),
        ("/data/中文/cats.v2.tsv.gz", "cats.v2"),
        ("prompts.txt.gz", "prompts"),
        ("a/b.parquet", "b"),
        ("dir/plain", "plain"),
        ("x.json.zst", "x"),
        ("captions/", "captions"),
        ("captions/part-*.parquet", "captions"),
        ("data/captions/**/*.csv", "captions"),
    ],
)
def test_a_job_is_named_by_its_table_where_no_name_is_given(table: str, name: str) -> None:
    """The suffixes of tables go, other dots stay."""
    config = JobConfig(table=table)
    assert config.job_name == name
    assert config.folder == Path("outputs") / name


def test_an_empty_table_path_is_named_as_the_problem() -> None:
    """Nothing else is said about the name that follows from it."""
    (problem,) = JobConfig(table="").problems()
    assert "table=prompts.csv" in problem


def test_a_model_brings_its_own_size_and_the_job_may_say_another() -> None:
    """Width and height fall back to the model's one by one."""
    config = JobConfig(table="t.csv", model=SdxlModel(width=512, height=768))
    assert (config.width, config.height) == (512, 768)
    config.sampling.width = 640
    assert (config.width, config.height) == (640, 768)


def test_plain_makes_json_values_of_a_config() -> None:
    """Enums become their values, ranges and paths text, tuples lists."""
    config = JobConfig(table="t.csv", images=ImagesConfig(format=ImageFormat.jpeg))
    config.seeds = (1, 2)
    content = plain(config)
    assert content["images"]["format"] == "jpg"
    assert content["seeds"] == [1, 2]
    assert plain({"where": Path("a/b")}) == {"where": "a/b"}


@pytest.mark.parametrize(
    ("device", "problem"),
    [
        (DeviceConfig(dispatch_threads=0), "device.dispatch_threads=0 is not a whole number"),
        (DeviceConfig(cpu_affinity=["3"]), "device.cpu_affinity=['3'] is not a list of ranges"),
    ],
)
def test_switches_of_the_device_are_checked(device: DeviceConfig, problem: str) -> None:
    """MindSpore would refuse them once the model is being loaded."""
    (found,) = device.problems()
    assert found.startswith(problem)
    assert not list(DeviceConfig(dispatch_threads=8, cpu_affinity=["0-3", "8-11"]).problems())


@pytest.mark.parametrize(
    ("given", "tiled"), [("off", []), ("False", []), ("on", [64, 2048]), ("True", [64, 2048]),
                         ("1024", [2048]), ("2048", [])]
)  # fmt: skip
def test_tiling_is_off_on_or_above_a_size(given: str, tiled: list[int]) -> None:
    """The longer side counts; YAML's on and off are understood."""
    model = FakeModel(vae_tiling=given)
    assert not list(model.problems())
    assert [side for side in (64, 2048) if model.is_tiled(64, side)] == tiled


def test_tiling_that_is_no_size_is_refused() -> None:
    """By its name."""
    (problem,) = FakeModel(vae_tiling="sometimes").problems()
    assert problem == "model.vae_tiling='sometimes' is neither on, off, nor a number of pixels."
