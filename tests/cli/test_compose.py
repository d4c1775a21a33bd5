"""Overrides on the command line become a job's config, or one error with every problem."""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from batchgen.cli.compose import Composer
from batchgen.config import shell
from batchgen.config.device import DeviceKind
from batchgen.config.groups import config_folder
from batchgen.config.job import ImageFormat, JobConfig, OnChange
from batchgen.config.models import DemoModel, FakeModel
from batchgen.config.setting_choices import TimestepSpacing
from batchgen.errors import ConfigError

FAKE = ("table=t.csv", "model=fake")
PRESETS = [path.stem for path in (config_folder() / "sampling").glob("*.yaml")]


def job(*overrides: str) -> JobConfig:
    """Compose one job, here."""
    return Composer().job(overrides)


def problems(*overrides: str) -> list[str]:
    """Return the sentences that overrides are refused with."""
    with pytest.raises(ConfigError) as caught:
        job(*overrides)
    return caught.value.problems


def test_a_table_alone_composes_to_the_defaults_of_the_dataclasses() -> None:
    """YAML holds no default of its own."""
    assert job("table=t.csv") == JobConfig(table="t.csv")


def test_each_group_is_chosen_by_its_name() -> None:
    """Model, device and images are groups."""
    config = job("table=t.csv", "model=demo", "device=cpu", "images=webp", "on_change=redo")
    assert isinstance(config.model, DemoModel)
    assert config.device.kind is DeviceKind.cpu
    assert config.images.format is ImageFormat.webp
    assert config.on_change is OnChange.redo


def test_a_value_inside_a_group_goes_with_the_group_in_any_order() -> None:
    """`model.latency_s=1 model=fake` is no error."""
    config = job("model.latency_s=1.5", "model.fail_rows=[1,2]", *FAKE)
    assert config.model == FakeModel(latency_s=1.5, fail_rows=[1, 2])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("steps=5", "sampling.steps=5"),
        ("sampling.stpes=5", "sampling.steps=5"),
        ("samplng.steps=5", "sampling.steps=5"),
        ("cfg_scale=5", "sampling.guidance_scale=5"),
        ("sampler=euler", "sampling.scheduler=euler"),
        ("negative_prompt=a b", "'sampling.negative_prompt=a b'"),
        ("on_chnage=redo", "on_change=redo"),
        ("batchsize=2", "batch_size=2"),
        ("delimiter=;", "'reading.delimiter=;'"),
        ("negative_prompt=blurry, ugly", "'sampling.negative_prompt=blurry, ugly'"),
        ("tabel=it's (1).csv", """'table=it'"'"'s (1).csv'"""),
        ("num_images=2", "images_per_prompt=2"),
        ("outdir=x", "output_root=x"),
        ("stop.max_hour=2", "stop.max_hours=2"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_one_that_was_meant(typed: str, meant: str) -> None:
    """Also one without its group, or by the name that other tools give it."""
    (problem,) = problems(*FAKE, typed)
    key = typed.partition("=")[0]
    assert problem == f"{typed}: there is no setting {key}. Did you mean {meant}?"


def test_a_key_like_no_other_is_answered_with_all_there_are() -> None:
    """Those beside it."""
    (problem,) = problems(*FAKE, "images.xyzzy=1")
    assert "There are: images.format, images.compress_level" in problem


@pytest.mark.parametrize(
    ("typed", "meant"), [("model=demoo", "demo"), ("sampling=lightning", "lightning-4")]
)
def test_a_misspelt_name_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    """Beside all there are."""
    (problem,) = problems("table=t.csv", typed)
    assert problem.endswith(f" Did you mean {meant}?")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", ".nan"])
@pytest.mark.parametrize("key", ["sampling.guidance_scale", "sampling.steps", "stop.max_hours"])
def test_a_number_that_is_not_finite_is_refused_as_such(key: str, value: str) -> None:
    """Not as a number out of range."""
    found = problems(*FAKE, f"{key}={value}")
    assert "not a finite number" in found[0] or value == ".nan"


def test_a_preset_with_a_model_of_its_own_beside_another_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The model of the preset is not dropped in silence."""
    job("table=t.csv", "sampling=turbo", "model=demo")
    assert (
        "sampling=turbo is made for model=sdxl-turbo, and this job runs model=demo" in caplog.text
    )
    caplog.clear()
    job("table=t.csv", "sampling=turbo")
    assert not caplog.text


def test_a_tilde_in_front_of_a_path_is_the_home(home: Path) -> None:
    """Where the shell has not expanded it; the folder of configs, too."""
    config = Composer("~").job(["table=~/t.csv", "output_root=~/x", "model=fake"])
    assert (config.table, config.output_root) == (str(home / "t.csv"), str(home / "x"))
    assert job("table=~nobody-here/t.csv").table == "~nobody-here/t.csv"


def test_all_problems_come_at_once() -> None:
    """Misspelt keys, wrong types, ranges and sizes are listed in one ConfigError."""
    found = problems(
        *FAKE,
        "nosuch=1",
        "sampling.widht=64",
        "sampling.steps=many",
        "sampling.height=65",
        "batch_size=0",
        "device.kind=gpu",
        "images=gif",
    )
    culprits = {re.split(r"[= ]", problem)[0] for problem in found}
    assert culprits == {
        *("nosuch", "sampling.widht", "sampling.steps", "sampling.height", "batch_size"),
        *("device.kind", "images"),
    }
    assert len(found) == 7


def test_a_value_of_a_group_is_judged_by_the_group_that_was_chosen() -> None:
    """Also where it stands in front of the choice, and where something else is wrong."""
    found = problems("model.latency_s=-1", "nosuch=1", *FAKE)
    assert [problem.partition("=")[0] for problem in found] == ["nosuch", "model.latency_s"]


def test_a_problem_is_one_line_without_words_of_hydra() -> None:
    """Only the sentence that says what is wrong is left of Hydra's message."""
    for problem in problems(*FAKE, "sampling.widht=64", "sampling.steps=many", "model=nosuch"):
        assert "\n" not in problem
        assert not re.search("full_key|object_type|reference_type|search path", problem)


def test_a_group_that_does_not_exist_is_answered_with_those_that_do() -> None:
    """The models there are stand in the message."""
    (problem,) = problems("table=t.csv", "model=sd15")
    assert problem.startswith("model=sd15: ")
    assert all(name in problem for name in ("demo", "fake", "sdxl-base"))


HOSTILE = [
    "/data/中文/提示词 表.csv", "it's (1).csv", "${x}.csv", "a${model.nosuch}", "$(touch made).csv",
    "`touch made`.csv", 'say "hi".csv', "it's \"both\".csv",
    "back\\slash.csv", "end\\", "\\'", '\\"',
    "a=b,c", "[a]", "{a}", "choice()", "range(3)", "a b", "!x", "50% *?", "#1", "null!", "${x",
    "blurry, (bad)", "blurry, ugly", "[word]", "two\nlines", "a\\${x}b", "x:y", "~nobody/x",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_needs_no_quotes_of_hydra(text: str) -> None:
    """Without -m, what the grammar cannot read, or reads as a sweep, is the text as typed."""
    config = job(*FAKE, f"sampling.negative_prompt={text}", f"reading.columns.prompt={text}")
    if "\\" not in text:  # outside quotes Hydra drops some backslashes: that it can read
        assert config.sampling.negative_prompt == text
        assert config.reading.columns == {"prompt": text}


@pytest.mark.parametrize(
    "path", ["/data/中文/提示词 表.csv", "it's (1).csv", "${x}.csv", "a,b.csv"]
)
def test_a_table_is_named_as_it_is(path: str) -> None:
    """Whatever is in its name."""
    assert job(f"table={path}", "model=fake").table == path


def test_an_interpolation_that_stands_for_something_is_still_hydras() -> None:
    """Any value that the grammar reads means what Hydra says."""
    assert job(*FAKE, "name=${model.name}-x").name == "fake-x"


@pytest.mark.parametrize("text", [*HOSTILE, "null", "1e3", "true", "007", "", "nan", " x "])
def test_what_is_suggested_is_the_same_text_again(text: str) -> None:
    """In Hydra's grammar, with and without -m."""
    (line,) = shlex.split(shell.override("sampling.negative_prompt", text))
    assert job(*FAKE, line).sampling.negative_prompt == text
    (point,) = Composer().grid([*FAKE, line])
    assert job(*point).sampling.negative_prompt == text


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_text_survives_hydras_grammar(text: str) -> None:
    """Quotes, backslashes and dollars in any order."""
    override = OverridesParser.create().parse_override(f"k={shell.quoted(text)}")
    assert override.value() == text
    escaped = OmegaConf.create({"k": shell.without_interpolation(text)})
    assert escaped.k == text


@given(
    text=st.text("$`\"'\\!*~{}()[]<>|&;#?,= \n\tab中", max_size=15),
)
@settings(max_examples=40, deadline=None)
def test_what_is_suggested_survives_bash(text: str) -> None:
    """Pasted, it runs nothing, and is the same argument."""
    suggested = shell.override("table", text)
    script = f"printf '%s\\0' {suggested}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout == shlex.split(suggested)[0].encode() + b"\0"


def test_a_grid_that_cannot_be_read_is_answered_with_the_quoted_form_that_works() -> None:
    """With -m a comma means a grid, so a text with commas needs quotes."""
    with pytest.raises(ConfigError) as caught:
        Composer().grid([*FAKE, "name=it's (1)", "seed=1,2"])
    (problem,) = caught.value.problems
    (line,) = shlex.split(problem.partition("Write: ")[2])
    assert job(*FAKE, line).name == "it's (1)"


@pytest.mark.parametrize("argument", ["demo", "prompts.csv"])
def test_an_argument_without_a_key_is_told_the_form(argument: str) -> None:
    """`batchgen run prompts.csv` needs no quotes, it needs table=."""
    (problem,) = problems(argument)
    assert "is not an override: give key=value" in problem


def test_columns_are_open_keys() -> None:
    """A setting's column is chosen without Hydra's plus sign."""
    config = job(*FAKE, "reading.columns.prompt=text", "reading.columns.id='中文 id'")
    assert config.reading.columns == {"prompt": "text", "id": "中文 id"}


def test_columns_may_be_given_as_one_dict() -> None:
    """The form of a dict is Hydra's own."""
    assert job(*FAKE, "reading.columns={prompt: text}").reading.columns == {"prompt": "text"}


@pytest.mark.parametrize("override", ["+foo=1", "+sampling.stpes=3", "++samplin.steps=3"])
def test_a_misspelt_key_is_refused_behind_a_plus_sign_too(override: str) -> None:
    """Who learnt Hydra elsewhere writes plus signs; the setting must not be lost in silence."""
    assert len(problems(*FAKE, override)) == 1


@pytest.mark.parametrize("text", ["1e3", "1_000", "true", "0x10", "1.50"])
def test_a_quoted_text_stays_as_typed(text: str) -> None:
    """Quotes keep Hydra from reading a number."""
    assert job(*FAKE, f"name='{text}'").name == text


@pytest.mark.parametrize("text", ["1e3", "1_000", "true", "1.50"])
def test_a_text_that_looks_like_a_number_stays_as_typed(text: str) -> None:
    """`name=1e3` is not a job named 1000.0."""
    assert job(*FAKE, f"name={text}").name == text


@pytest.mark.parametrize(
    ("value", "seeds"),
    [("0..3", [0, 1, 2, 3]), ("[4,2]", [4, 2]), ("'0..1'", [0, 1]), ("[7]", [7])],
)
def test_seeds_are_a_range_or_a_list(value: str, seeds: list[int]) -> None:
    """Both forms of the issue parse unquoted."""
    assert list(job(*FAKE, f"seeds={value}").seed_values() or ()) == seeds


def test_seeds_of_a_wrong_form_are_named() -> None:
    """Hydra takes any value for `seeds`; the config does not."""
    (problem,) = problems(*FAKE, "seeds=0-99")
    assert problem.startswith("seeds='0-99' is neither a list")


@pytest.mark.parametrize("overrides", [[], ["model=fake"], ["table=null"]])
def test_a_job_without_a_table_is_refused(overrides: list[str]) -> None:
    """Nothing can be guessed."""
    (problem,) = problems(*overrides)
    assert problem.startswith(("table is missing: ", "table=null: "))


def test_a_folder_of_jobs_is_found_where_the_command_runs(workplace: Path) -> None:
    """`jobs=cats` loads jobs/cats.yaml; overrides still win."""
    (workplace / "jobs").mkdir()
    text = "# @package _global_\ndefaults: [{override /model: fake}]\ntable: cats.csv\nseed: 4\n"
    (workplace / "jobs" / "cats.yaml").write_text(text)
    config = job("jobs=cats", "seed=5")
    assert (config.table, config.seed, config.model) == ("cats.csv", 5, FakeModel())
    assert "jobs=cats" in problems("model=fake")[0]


def test_the_job_that_ships_composes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`jobs=demo` is the table of the README on the demo model."""
    monkeypatch.chdir(Path(__file__).parents[2])
    config = job("jobs=demo")
    assert (config.table, config.name, type(config.model)) == ("jobs/demo.csv", "demo", DemoModel)


def test_a_config_folder_of_the_user_adds_to_the_groups(tmp_path: Path) -> None:
    """`--config-dir` brings a model of one's own."""
    (tmp_path / "model").mkdir()
    text = "defaults: [fake, _self_]\nname: mine\nwidth: 512\n"
    (tmp_path / "model" / "mine.yaml").write_text(text)
    config = Composer(str(tmp_path)).job(["table=t.csv", "model=mine"])
    assert config.model == FakeModel(name="mine", width=512)


def test_a_config_folder_that_is_not_there_is_named() -> None:
    """A misspelt --config-dir is not passed over."""
    with pytest.raises(ConfigError, match="--config-dir nosuch is not there"):
        Composer("nosuch")


@pytest.mark.parametrize("name", ["a b", "a,b", "中文", "a=b", "a%20b", "${x}"])
def test_any_folder_will_do_to_work_in(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working folder is part of Hydra's search path, whatever it is called."""
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    assert job(*FAKE).table == "t.csv"


def test_a_folder_with_an_apostrophe_will_do_to_work_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command is refused in it."""
    (tmp_path / "it's").mkdir()
    monkeypatch.chdir(tmp_path / "it's")
    assert job(*FAKE).table == "t.csv"


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("sampling.steps=10,20", "sampling.steps=10,20 is a grid of 2 jobs: add -m, or give one"),
        ("seeds=0,1,2", "write seeds='[0,1,2]'; for a job each, add -m"),
        ("seeds=range(0,3)", "write 'seeds=[0,1,2]'; for a job each, add -m"),
        ("model.fail_rows=1,2", "write 'model.fail_rows=[1,2]'"),
        ("seed=1 seed=2", ""),
    ],
)
def test_a_swept_value_without_m_is_refused(override: str, advice: str) -> None:
    """With advice that fits: a list where the setting takes one."""
    (problem,) = problems(*FAKE, *override.split())
    assert advice.replace("seeds='[", "'seeds=[") in problem


def test_the_same_key_twice_is_refused() -> None:
    """Neither wins in silence; plus signs make no other key."""
    (problem,) = problems(*FAKE, "sampling.steps=4", "++sampling.steps=5")
    assert problem == (
        "sampling.steps is given twice, sampling.steps=4 and ++sampling.steps=5: leave one out."
    )


def test_a_grid_is_every_combination_the_last_key_fastest() -> None:
    """What is not swept is the same in each point."""
    points = list(Composer().grid([*FAKE, "sampling.steps=10,20", "sampling.guidance_scale=5,7.5"]))
    assert all(point[:2] == list(FAKE) for point in points)
    assert [point[2:] for point in points] == [
        ["sampling.steps=10", "sampling.guidance_scale=5"],
        ["sampling.steps=10", "sampling.guidance_scale=7.5"],
        ["sampling.steps=20", "sampling.guidance_scale=5"],
        ["sampling.steps=20", "sampling.guidance_scale=7.5"],
    ]


def test_each_point_of_a_grid_composes_to_a_job() -> None:
    """Quotes, ranges and choices survive the expansion."""
    composer = Composer()
    overrides = [*FAKE, "seed=range(2)", "sampling.negative_prompt=choice('a, b','c')"]
    jobs = [composer.job(point) for point in composer.grid(overrides)]
    found = [(config.seed, config.sampling.negative_prompt) for config in jobs]
    assert found == [(0, "a, b"), (0, "c"), (1, "a, b"), (1, "c")]


def test_only_swept_keys_make_a_grid() -> None:
    """A list is one value."""
    assert Composer().swept_keys([*FAKE, "seeds=[1,2]", "sampling.steps=1,2"]) == ["sampling.steps"]


def test_the_yaml_of_a_job_holds_every_key_with_its_value() -> None:
    """What --cfg prints is a complete config."""
    content = yaml.safe_load(Composer().yaml([*FAKE, "sampling.steps=30", "images=jpeg"]))
    assert list(content) == [field.name for field in dataclasses.fields(JobConfig)]
    assert content["sampling"]["steps"] == 30
    assert content["images"]["format"] == "jpeg"


def test_the_yaml_shows_a_chosen_column() -> None:
    """Open keys are printed as well."""
    content = yaml.safe_load(Composer().yaml([*FAKE, "reading.columns.prompt=text"]))
    assert content["reading"]["columns"] == {"prompt": "text"}


@pytest.mark.parametrize("override", ["nosuch=1", "seed=1,2", "sampling.steps=many"])
def test_a_yaml_that_cannot_be_composed_is_refused_in_sentences(override: str) -> None:
    """--cfg is where people look when something is wrong."""
    with pytest.raises(ConfigError):
        Composer().yaml([*FAKE, override])


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_composes_to_a_good_job(name: str) -> None:
    """Whatever model it is for, and with all that it needs."""
    config = job("table=t.csv", f"sampling={name}")
    assert list(config.problems()) == []


def test_a_preset_says_what_its_name_says() -> None:
    """Twenty steps of DPM++ 2M Karras."""
    sampling = job("table=t.csv", "sampling=fast").sampling
    assert (sampling.scheduler, sampling.steps) == ("dpmpp_2m_karras", 20)


def test_a_preset_gives_way_to_what_is_said_beside_it() -> None:
    """On the command line in any order, and in a job's own file."""
    assert job("sampling.steps=7", "sampling=fast", "table=t.csv").sampling.steps == 7
    assert job("table=t.csv", "sampling=turbo", "model=demo").model == DemoModel()


def test_turbo_brings_its_own_model() -> None:
    """At the size it was trained for, and without guidance."""
    config = job("table=t.csv", "sampling=turbo")
    assert (config.model.name, config.width, config.height) == ("sdxl-turbo", 512, 512)
    assert config.sampling.guidance_scale == 0
    assert config.sampling.timestep_spacing is TimestepSpacing.trailing


def test_presets_are_points_of_a_grid() -> None:
    """And change the folder."""
    points = list(Composer().grid([*FAKE, "sampling=fast,quality"]))
    jobs = [job(*point) for point in points]
    assert [one.sampling.steps for one in jobs] == [20, 50]


def test_a_preset_that_is_not_there_is_answered_with_those_that_are() -> None:
    """All of them."""
    (problem,) = problems(*FAKE, "sampling=slow")
    assert all(name in problem for name in PRESETS)


def test_a_preset_of_ones_own_lies_in_the_working_directory(workplace: Path) -> None:
    """Beside jobs/ and the table."""
    (workplace / "sampling").mkdir()
    text = "# @package _global_\nsampling: {steps: 3, scheduler: Euler a}\n"
    (workplace / "sampling" / "mine.yaml").write_text(text)
    sampling = job(*FAKE, "sampling=mine").sampling
    assert (sampling.steps, sampling.scheduler) == (3, "euler_ancestral")
