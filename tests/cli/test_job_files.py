"""Job files that cannot be composed are answered with the file, the line and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchgen.cli.compose import Composer
from batchgen.cli.main import main
from batchgen.errors import ConfigError

HEADER = "# @package _global_\n"
FAKE = HEADER + "defaults:\n  - override /model: fake\ntable: t.csv\n"


def refusal(text: str) -> str:
    """Return what a job file of this text is refused with."""
    Path("jobs").mkdir()
    Path("jobs/x.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        Composer().job(["jobs=x"])
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("text", "line", "advice"),
    [
        (HEADER + "table: t.csv\nmodel: fake\n", 3, "`- override /model: fake`"),
        (FAKE + "sampling: turbo\n", 5, "`- override /sampling: turbo`"),
        ("table: t.csv\n", 1, "the first line must be `# @package _global_`"),
        ("", 1, "the first line must be `# @package _global_`"),
        (HEADER + "defaults:\n  - model: fake\n", 3, "Write `override /model: fake`"),
        (HEADER + "defaults:\n  - override model: fake\n", 3, "Write `override /model: fake`"),
        (HEADER + "defaults:\n  - model\n", 3, "`- override /model: NAME`"),
        (HEADER + "defaults:\n  - override /model: fakee\n", 3, "Did you mean fake?"),
        (FAKE + "sampling: {steps: 3\n", 5, "Close every bracket"),
        (FAKE + "sampling:\n\tsteps: 3\n", 6, "spaces, not with tabs"),
        (HEADER + "name=x\n", 2, "`key: value` in a file, not key=value"),
        ("- a\n", 1, "lines of `key: value`"),
        (FAKE + "steps: 4\n", 5, "Did you mean steps, under sampling:?"),
        (FAKE + "sampling:\n  stpes: 4\n", 6, "Did you mean steps, under sampling:?"),
        (FAKE + "table: u.csv\n", 5, "table stands there twice"),
        (FAKE + "sampling:\n  steps: 4\n  steps: 5\n", 7, "steps stands there twice"),
        (FAKE + "sampling:\n  steps: many\n", 6, "sampling.steps: Value 'many'"),
        (FAKE + "model:\n  latncy_s: 1\n", 6, "'latncy_s' not in 'FakeModel'"),
        (FAKE + "sampling:\n", 5, "nothing stands below `sampling:`"),
        (FAKE + "name: !!python/object:os.system x\n", 5, "could not determine a constructor"),
        (FAKE + "? [a, b]\n: c\n", 5, "found unhashable key"),
        (HEADER + "defaults: 5\n", 2, "`defaults:` is a list"),
    ],
)
@pytest.mark.usefixtures("workplace")
def test_a_broken_job_file_is_told_its_line_and_what_to_write(
    text: str, line: int, advice: str
) -> None:
    """Nothing of Hydra's inside, no traceback."""
    problem = refusal(text)
    assert f"jobs/x.yaml, line {line}: " in problem
    assert advice in problem


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    "content", [b"", b"- a\n", b"\xff\xfe", b"[" * 5000, FAKE.encode() + b"sampling: {\n"]
)
@pytest.mark.usefixtures("workplace")
def test_a_broken_job_file_is_a_sentence_to_every_command(
    command: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """`plan` looks into the file for the preset as well."""
    Path("jobs").mkdir()
    Path("jobs/x.yaml").write_bytes(content)
    assert main((command, "jobs=x")) == 2
    assert "jobs/x.yaml" in capsys.readouterr().err


@pytest.mark.usefixtures("workplace")
def test_a_date_that_is_none_is_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    """YAML would make a date of it, Hydra does not."""
    Path("jobs").mkdir()
    Path("jobs/x.yaml").write_text(FAKE + "name: 2026-02-30\n")
    assert main(("plan", "jobs=x")) == 0
    assert "outputs/2026-02-30" in capsys.readouterr().out


@pytest.mark.usefixtures("workplace")
def test_a_preset_of_ones_own_is_checked_as_well() -> None:
    """It is a file of the whole job, too."""
    Path("sampling").mkdir()
    Path("sampling/mine.yaml").write_text("sampling: {steps: 3}\n")
    with pytest.raises(ConfigError, match=r"sampling/mine.yaml, line 1: the first line must be"):
        Composer().job(["table=t.csv", "sampling=mine"])


@pytest.mark.usefixtures("workplace")
def test_a_job_file_that_is_a_dangling_link_is_named_as_one() -> None:
    """Not as a job that there is not."""
    Path("jobs").mkdir()
    Path("jobs/x.yaml").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"jobs/x.yaml is a link to 'nowhere'"):
        Composer().job(["jobs=x"])


@pytest.mark.usefixtures("workplace")
def test_a_job_that_is_not_found_is_told_where_it_was_looked_for(tmp_path: Path) -> None:
    """And how to name one elsewhere."""
    with pytest.raises(ConfigError) as caught:
        Composer().job(["jobs=dmeo"])
    (problem,) = caught.value.problems
    assert str(tmp_path / "jobs") in problem
    assert "Did you mean demo?" in problem
    assert "--config-dir FOLDER" in problem


@pytest.mark.usefixtures("workplace")
def test_the_job_that_ships_runs_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """Its table comes with it."""
    assert main(["plan", "jobs=demo", "model=fake"]) == 0
    assert "images    24: " in capsys.readouterr().out


@pytest.mark.usefixtures("workplace")
def test_a_table_of_ones_own_goes_before_the_one_that_ships() -> None:
    """The name in the job's file is looked up here first."""
    Path("jobs").mkdir()
    Path("jobs/demo.csv").write_text("prompt\na cat\n")
    assert Composer().job(["jobs=demo"]).table == "jobs/demo.csv"
