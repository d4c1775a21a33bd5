"""The command line: exit codes, sentences instead of tracebacks, and what it does not import."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import batchgen
from batchgen.cli.main import main

SMALL = ("model=fake", "sampling.width=64", "sampling.height=64")
RUN = ("run", "table=t.csv", *SMALL)
HEAVY = ("mindspore", "mindone", "transformers", "modelscope", "torch", "ray")


def imported_by(*arguments: str) -> set[str]:
    """Return the top-level modules a process has loaded after one command."""
    code = (
        "import json, sys\n"
        "from batchgen.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def ended(*arguments: str) -> int:
    """Return the exit code of a command, however it leaves."""
    try:
        return main(arguments)
    except SystemExit as left:
        return int(left.code or 0)


@pytest.mark.usefixtures("workplace")
def test_a_job_that_is_all_done_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    """Its last line names the folder."""
    assert main(RUN) == 0
    assert capsys.readouterr().out == "outputs/t: 3 images, all done\n"
    assert len(batchgen.read_metadata("outputs/t")) == 3


@pytest.mark.usefixtures("workplace", "capsys")
def test_a_job_runs_where_stderr_is_no_file() -> None:
    """In a notebook faulthandler is on and sys.stderr has no file number."""
    faulthandler.enable(2)
    assert main(RUN) == 0


@pytest.mark.usefixtures("workplace")
def test_the_second_start_of_a_finished_job_makes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says that all was done before."""
    main(RUN)
    before = Path("outputs/t/metadata.parquet").stat().st_mtime_ns
    capsys.readouterr()
    assert main(RUN) == 0
    assert capsys.readouterr().out == "outputs/t: 3 images, all done before\n"
    assert Path("outputs/t/metadata.parquet").stat().st_mtime_ns == before


@pytest.mark.usefixtures("workplace")
def test_some_failed_rows_end_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the file that lists them."""
    assert main([*RUN, "model.fail_rows=[1]"]) == 3
    assert "1 image failed, see outputs/t/failures.parquet" in capsys.readouterr().out


@pytest.mark.usefixtures("workplace")
def test_a_run_of_failures_ends_with_4(capsys: pytest.CaptureFixture[str]) -> None:
    """The circuit breaker stops the job."""
    code = main([*RUN, "model.fail_rows=[0,1,2]", "retry.max_consecutive_failures=2"])
    assert code == 4
    assert "2 rows failed one after another" in capsys.readouterr().out


@pytest.mark.usefixtures("workplace")
def test_a_job_stopped_early_ends_with_75_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Here by the clock; the same command finishes it."""
    assert main([*RUN, "stop.max_hours=0"]) == 75
    assert "stop.max_hours is over; the same command resumes it" in capsys.readouterr().out
    assert main(RUN) == 0


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["run", "table=nosuch.csv", *SMALL], "nosuch.csv is not there"),
        ([*RUN, "sampling.widht=64"], "sampling.widht=64"),
        ([*RUN, "name=../t"], "name='../t' would leave"),
        ([*RUN, "sampling.steps=1,2"], "add -m"),
        ([*RUN, "reading.columns.prompt=text"], "has no column 'text'"),
        (["run", *SMALL], "table is missing"),
        (["plan", "table=t.csv", *SMALL, "seeds=[1,1]"], "seeds=[1, 1] holds a seed twice"),
        ([*RUN, "--config-dir", "nosuch"], "--config-dir nosuch is not there"),
    ],
)
@pytest.mark.usefixtures("workplace")
def test_what_is_refused_ends_with_2_and_a_sentence(
    arguments: list[str], culprit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line says whose it is, none is a traceback, and no folder is made."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert all(line.startswith("batchgen: ") for line in printed.err.splitlines())
    assert culprit in printed.err
    assert printed.out == ""
    assert not Path("outputs").exists()


@pytest.mark.usefixtures("workplace")
def test_each_problem_stands_in_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A list of problems is no wall of text."""
    assert main([*RUN, "batch_size=0", "sampling.steps=0", "limit=0"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("arguments", [[], ["nosuch"], ["run", "--bogus"], ["plan", "-x"]])
def test_a_command_line_nobody_understands_ends_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The usage is shown."""
    assert ended(*arguments) == 2
    assert "usage: batchgen" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """`batchgen --version` prints a number and ends with 0."""
    assert ended("--version") == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


@pytest.mark.usefixtures("workplace")
def test_overrides_may_stand_on_both_sides_of_an_option() -> None:
    """Nobody remembers an order."""
    assert main(["plan", "table=t.csv", "-m", *SMALL, "sampling.steps=1,2"]) == 0
    assert main(["plan", "table=t.csv", "--config-dir", ".", *SMALL]) == 0


@pytest.mark.usefixtures("workplace")
def test_cfg_prints_the_config_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """For a look before the night."""
    assert main([*RUN, "--cfg"]) == 0
    assert "table: t.csv\n" in capsys.readouterr().out
    assert main([*RUN, "--cfg", "-m", "sampling.steps=1,2"]) == 0
    points = [yaml.safe_load(text) for text in capsys.readouterr().out.split("---\n")]
    assert [point["sampling"]["steps"] for point in points] == [1, 2]
    assert not Path("outputs").exists()


@pytest.mark.usefixtures("workplace")
def test_a_full_size_model_on_a_cpu_is_refused_unless_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And where the files are missing, the command that fetches them is named."""
    if any(Path("/dev").glob("davinci[0-9]*")):
        pytest.skip("this machine has an NPU")
    for name in ("HOME", "MODELSCOPE_CACHE", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "empty"))
    assert main(["run", "table=t.csv"]) == 2
    assert "device=cpu runs it all the same" in capsys.readouterr().err
    assert main(["run", "table=t.csv", "device=cpu"]) == 2
    assert "batchgen download" in capsys.readouterr().err


def test_what_is_the_same_at_every_point_is_said_once(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Notes on the table and on prompts, by `plan` and by `run`."""
    (workplace / "t.csv").write_text("prompt,sampler\na {red|green} cat,ddim\n")
    for command in ("plan", "run"):
        assert main([command, "table=t.csv", *SMALL, "-m", "sampling.guidance_scale=1,2,3"]) == 0
        printed = capsys.readouterr()
        said = printed.out + printed.err
        assert said.count("reading.columns.scheduler=sampler") == 1
        assert said.count("is a choice elsewhere") == 1
    assert main(["plan", "table=t.csv", "name=one", *SMALL, "sampling=fast"]) == 0
    assert ", of sampling=fast\n" in capsys.readouterr().out


@pytest.mark.usefixtures("workplace")
def test_a_grid_makes_a_folder_for_each_point(capsys: pytest.CaptureFixture[str]) -> None:
    """Each point says which it is."""
    assert main(["run", "-m", "table=t.csv", *SMALL, "name=grid", "sampling.steps=10,20"]) == 0
    printed = capsys.readouterr().out
    assert "[1/2] sampling.steps=10\n" in printed
    assert "[2/2] sampling.steps=20\n" in printed
    folders = [path for path in Path("outputs/grid").iterdir() if path.is_dir()]
    assert sorted(len(batchgen.read_metadata(folder)) for folder in folders) == [3, 3]


@pytest.mark.usefixtures("workplace")
def test_a_grid_started_again_in_another_order_redoes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Points are found by what they are, not by where they stand."""
    grid = ("run", "-m", "table=t.csv", *SMALL, "name=grid")
    main([*grid, "sampling.steps=10,20"])
    capsys.readouterr()
    assert main([*grid, "sampling.steps=30,20,10"]) == 0
    assert capsys.readouterr().out.count("3 images, all done before") == 2


@pytest.mark.usefixtures("workplace")
def test_a_point_that_cannot_run_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The grid ends with the code of its worst point."""
    assert main(["run", "-m", "table=nosuch.csv,t.csv", *SMALL, "name=grid"]) == 2
    printed = capsys.readouterr()
    assert "nosuch.csv is not there" in printed.err
    assert "3 images, all done" in printed.out


@pytest.mark.usefixtures("workplace")
def test_a_point_out_of_range_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nor does one that is refused before it has a folder."""
    assert main(["run", "-m", *RUN[1:], "name=grid", "sampling.steps=0,10"]) == 2
    printed = capsys.readouterr()
    assert "sampling.steps=0 is not" in printed.err
    assert "3 images, all done" in printed.out


@pytest.mark.usefixtures("workplace")
def test_a_grid_ends_with_3_where_a_row_of_a_point_failed() -> None:
    """Failed rows are milder than a refusal, and worse than nothing."""
    assert main(["run", "-m", *RUN[1:], "name=grid", "model.fail_rows=[],[1]"]) == 3


@pytest.mark.usefixtures("workplace")
def test_a_job_cannot_become_a_grid(capsys: pytest.CaptureFixture[str]) -> None:
    """The refusal names the folder."""
    main(RUN)
    assert main(["run", "-m", *RUN[1:], "sampling.steps=10,20"]) == 2
    assert "outputs/t is a job and cannot become a grid" in capsys.readouterr().err


@pytest.mark.usefixtures("workplace")
def test_a_grid_cannot_become_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor the other way round."""
    main(["run", "-m", *RUN[1:], "sampling.steps=10,20"])
    assert main(RUN) == 2
    assert "outputs/t is a grid of jobs" in capsys.readouterr().err


@pytest.mark.usefixtures("workplace")
def test_plan_refuses_a_grid_that_run_would_refuse() -> None:
    """A dry run that says yes must mean it."""
    main(RUN)
    assert main(["plan", "-m", *RUN[1:], "sampling.steps=10,20"]) == 2


@pytest.mark.usefixtures("workplace")
def test_plan_goes_on_to_the_next_point_after_one_it_refuses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As run does."""
    assert main(["plan", "-m", "table=nosuch.csv,t.csv", *SMALL, "name=grid"]) == 2
    assert "t.csv: 3 rows" in capsys.readouterr().out


def test_python_m_batchgen_is_the_command(workplace: Path) -> None:
    """Exit code and sentence reach the shell; what was wrong is no traceback."""
    command = [sys.executable, "-m", "batchgen", "run", "table=/data/中文/x.csv", "model=fake"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=workplace, check=False)
    assert done.returncode == 2
    assert "/data/中文/x.csv is not there" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_loads_neither_a_model_nor_hydra() -> None:
    """The usage is there at once."""
    assert not imported_by("--help") & {*HEAVY, "hydra", "omegaconf", "pandas", "pyarrow"}


@pytest.mark.usefixtures("workplace")
def test_plan_imports_no_model() -> None:
    """A dry run needs no minutes."""
    assert not imported_by("plan", "table=t.csv", "model=demo") & set(HEAVY)


@pytest.mark.usefixtures("workplace")
def test_doctor_itself_loads_no_model() -> None:
    """What may crash does so in another process; a log needs not even hydra."""
    assert not imported_by("doctor", "model=fake") & set(HEAVY)
    assert not imported_by("doctor", "--log", __file__) & {*HEAVY, "pandas", "pyarrow"}


@pytest.mark.usefixtures("workplace")
def test_a_finished_job_answers_without_mindspore_and_pandas() -> None:
    """It reads names, times and counts."""
    main(RUN)
    assert not imported_by(*RUN) & {*HEAVY, "pandas"}


@pytest.mark.usefixtures("workplace")
def test_report_loads_neither_a_model_nor_hydra() -> None:
    """It reads files and draws."""
    main(RUN)
    loaded = imported_by("report", "outputs/t")
    assert "PIL" in loaded
    assert not loaded & {*HEAVY, "hydra", "omegaconf"}


@pytest.mark.usefixtures("workplace")
def test_a_finished_job_answers_within_a_second() -> None:
    """The whole command with the interpreter's start, in CPU time: nothing in it waits.

    The best of three starts counts, so that other work on the machine does not.
    """
    main(RUN)

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "batchgen", *RUN]
        subprocess.run(command, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert any(seconds() < 1.0 for _ in range(3))


FOLDER_COMMANDS = ("status", "verify", "verify --repair", "report", "repro --row a")


@pytest.mark.parametrize("name", [".batchgen", "images", "images/00000", "metadata.parquet"])
@pytest.mark.usefixtures("workplace", "plain_rights")
def test_what_may_not_be_read_is_named_by_every_command(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no damage: nothing is repaired, made again, or shown as a traceback."""
    main(RUN)
    (Path("t.csv")).write_text("id,prompt\na,a cat\nb,a dog\nc,a bird\nd,a fish\n")
    place = Path("outputs/t") / name
    place.chmod(0)
    capsys.readouterr()
    commands = [[*command.split(), "outputs/t"] for command in FOLDER_COMMANDS]
    commands += [["run", *RUN[1:]], ["plan", *RUN[1:]], ["status", "outputs"]]
    if name == "images/00000":  # a report shows an empty frame, and repro the pixels it made
        commands = [one for one in commands if one[0] not in ("report", "repro")]
    for command in commands:
        main(command)
        out, error = capsys.readouterr()
        assert f"outputs/t/{name}" in out + error
        assert "cannot be read: Permission denied" in out + error
        assert "Traceback" not in error
    place.chmod(0o755)
    assert main(("verify", "outputs/t")) == 0


@pytest.mark.usefixtures("workplace", "plain_rights")
def test_an_output_root_that_may_not_be_read_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody knows what is in it, so nothing is started there."""
    Path("private").mkdir()
    Path("private").chmod(0)
    grid = ("run", "-m", *RUN[1:], "output_root=private", "sampling.steps=1,2")
    folders = [("verify", "private/t"), ("report", "private/t"), ("merge", "private/t")]
    for command in [(*RUN, "output_root=private"), grid, ("status", "private"), *folders]:
        assert main(command) == 2
        assert "cannot be read: Permission denied" in capsys.readouterr().err
    Path("private").chmod(0o755)


@pytest.mark.usefixtures("workplace")
def test_a_link_that_leads_to_itself_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Python's own `resolve` raises `RuntimeError` for it."""
    Path("loop").symlink_to("loop")
    for command in [
        (*RUN, "output_root=loop"),
        ("repro", "loop/images/00000/000000000-0.png"),
        ("status", "loop"),
    ]:
        assert main(command) == 2
        assert "loop" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [RUN, ("status",), ("repro", "x.png"), ("doctor", "model=fake")]
)
def test_a_working_folder_that_was_deleted_is_a_sentence(
    command: tuple[str, ...], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is to be found from there."""
    place = workplace / "gone"
    place.mkdir()
    os.chdir(place)
    place.rmdir()
    assert main(command) == 2
    assert "The working folder was deleted" in capsys.readouterr().err
    os.chdir(workplace)


@pytest.mark.usefixtures("workplace")
def test_a_name_that_is_too_long_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is a file a folder."""
    long = "a" * 300
    for command in (("verify", long), ("status", long), ("repro", long), ("doctor", "--log", long)):
        assert main(command) == 2
        assert "File name too long" in capsys.readouterr().err
    assert main(("merge", "t.csv")) == 2
    assert "t.csv has no shard in it" in capsys.readouterr().err
