"""`batchgen doctor` as a command: exit codes, JSON, what it loads, and its page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from batchgen.cli.main import main
from batchgen.faults.symptoms import SYMPTOMS

ROOT = Path(__file__).parents[2]
CRASH = Path(__file__).parents[1] / "samples" / "crash_logs" / "cpu-kernel-missing--1.log"
HARMLESS = Path(__file__).parents[1] / "samples" / "harmless_logs" / "pip-installs.log"
HAS_NPU = any(Path("/dev").glob("davinci[0-9]*"))

pytestmark = pytest.mark.usefixtures("workplace")


@pytest.mark.skipif(HAS_NPU, reason="there is an NPU")
def test_a_machine_without_npu_does_for_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    """It says what is missing for Ascend all the same, and changes nothing."""
    before = sorted(Path().iterdir())
    assert main(["doctor", "device=cpu", "model=demo"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^ok +CPU tensor", told, re.MULTILINE)
    assert re.search(r"^warning +driver", told, re.MULTILINE)
    assert re.search(r"^warning +cann", told, re.MULTILINE)
    assert told.splitlines()[-1].endswith("0 failed")
    assert sorted(Path().iterdir()) == before


@pytest.mark.skipif(HAS_NPU, reason="there is an NPU")
def test_a_machine_without_npu_does_not_do_for_ascend(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2; each failure has a cure, and the CPU still works."""
    assert main(["doctor", "device=ascend", "model=demo", "--json"]) == 2
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    failed = {name for name, check in checks.items() if check["outcome"] == "failed"}
    assert failed == {"driver", "cann", "mindspore npus", "NPU tensor"}
    assert all(checks[name]["cure"] for name in failed)
    assert checks["CPU tensor"]["outcome"] == "ok"


@pytest.mark.skipif(HAS_NPU, reason="there is an NPU")
def test_a_full_model_that_would_land_on_a_cpu_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`run` refuses it with device=auto."""
    assert main(["doctor"]) == 2
    assert "`run` refuses that" in capsys.readouterr().out


def test_settings_are_checked_before_anything_else(capsys: pytest.CaptureFixture[str]) -> None:
    """They are those of `run`, without a table."""
    assert main(["doctor", "device.index=-1"]) == 2
    assert "device.index" in capsys.readouterr().err


def test_a_crash_log_ends_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    """As whatever is not all well; name, cause and cure are printed."""
    assert main(["doctor", "--log", str(CRASH)]) == 3
    told = capsys.readouterr().out
    assert told.startswith("cpu-kernel-missing (line 7)\n")
    assert "cure   batchgen puts kernels" in told


def test_the_log_of_a_job_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    """What `run` says of a failure in its own words."""
    small = ("model=fake", "sampling.width=64", "sampling.height=64")
    main(["run", "table=t.csv", *small, "model.oom_above_batch=0"])
    capsys.readouterr()
    assert main(["doctor", "--log", "outputs/t/.batchgen/log.txt", "--json"]) == 3
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["device-oom"]


def test_a_harmless_log_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    """And says that nothing is known of it."""
    assert main(["doctor", "--log", str(HARMLESS)]) == 0
    assert capsys.readouterr().out.startswith("No known fault")
    assert main(["doctor", "--log", str(HARMLESS), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_log_takes_no_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """They would be passed over in silence."""
    assert main(["doctor", "--log", str(CRASH), "device=cpu"]) == 2
    assert "--log" in capsys.readouterr().err


def test_the_page_lists_every_symptom_in_order() -> None:
    """docs/ascend.md cannot drift from the table."""
    page = (ROOT / "docs" / "ascend.md").read_text(encoding="utf-8")
    section = page.partition("### What it knows")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.+) \|$", section, re.MULTILINE))
    assert rows == {symptom.name: symptom.cause for symptom in SYMPTOMS}
    assert [*rows] == [symptom.name for symptom in SYMPTOMS]


def code(page: str) -> tuple[list[str], list[list[str]]]:
    """Return the commands of a page, without comments, and the code in each row of a table."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return (
        [re.sub(r" +# .*", "", block) for block in blocks],
        [sorted(re.findall(r"`([^`]+)`", row)) for row in rows],
    )


def test_the_chinese_page_has_the_same_commands_settings_and_symptoms() -> None:
    """docs/ascend.zh.md is no older than docs/ascend.md."""
    assert code("ascend.zh.md") == code("ascend.md")
