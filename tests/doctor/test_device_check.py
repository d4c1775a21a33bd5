"""NPUs in the words of their driver, and processes that may crash."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.doctor import device_check, probe
from batchgen.doctor.check import Check, Outcome
from batchgen.doctor.device_check import MASK, npu_checks, npu_smi_output, probe_checks
from batchgen.doctor.probe import Answer, answer

SAMPLES = Path(__file__).parents[1] / "samples" / "npu_smi"
GIB = 2**30


@pytest.fixture(autouse=True)
def unmasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show every NPU."""
    monkeypatch.delenv(MASK, raising=False)


def checks(name: str, index: int = 0, needed_bytes: int = 7 * GIB) -> dict[str, Check]:
    """Return the checks of a sample by name."""
    output = (SAMPLES / f"{name}.txt").read_text(encoding="utf-8")
    found = npu_checks(output, DeviceConfig(index=index), needed_bytes, Path("/nowhere"))
    return {check.name: check for check in found}


def test_an_idle_npu_is_well() -> None:
    """Driver, health and free memory."""
    found = checks("eight_cards", index=7)
    assert all(check.outcome is Outcome.ok for check in found.values())
    assert found["driver"].finding == "25.3.rc1, NPUs: 8"
    assert "NPU 7 (910B3)" in found["npu"].finding


def test_who_holds_the_memory_is_named() -> None:
    """Too little is left for the weights: that fails, and says which processes to look at."""
    memory = checks("busy")["npu memory"]
    assert memory.outcome is Outcome.failed
    assert "1333928 python3 (56,114 MB)" in memory.finding
    assert "ps -o pid,user,etime,args -p 1333928,1333930" in memory.cure


def test_a_shared_npu_with_room_is_a_warning() -> None:
    """A job may run beside others, but should know."""
    assert checks("busy", needed_bytes=GIB)["npu memory"].outcome is Outcome.warning


def test_an_unhealthy_npu_is_a_failure_and_a_neighbour_a_warning() -> None:
    """The job runs on one of them only."""
    assert checks("unhealthy", index=1)["npu"].outcome is Outcome.failed
    assert "Alarm" in checks("unhealthy", index=1)["npu"].finding
    assert checks("unhealthy", index=0)["npu"].outcome is Outcome.warning


def test_an_index_that_is_not_there_is_a_failure() -> None:
    """The cure is the first NPU."""
    check = checks("one_card", index=1)["npu"]
    assert check.outcome is Outcome.failed
    assert check.cure == "device.index=0"


def test_the_index_counts_inside_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Index 1 of the mask 4,6 is NPU 6."""
    monkeypatch.setenv(MASK, "4,6")
    found = checks("eight_cards", index=1)
    assert "NPU 6 " in found["npu"].finding
    assert found["visible devices"].outcome is Outcome.ok


@pytest.mark.parametrize("mask", ["", "a", "0,0", "1,0", "0;1", "-1"])
def test_a_mask_that_is_nonsense_is_a_failure(mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The value is repeated."""
    monkeypatch.setenv(MASK, mask)
    check = checks("eight_cards")["visible devices"]
    assert check.outcome is Outcome.failed
    assert repr(mask) in check.finding


def test_a_mask_of_npus_that_are_not_there_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with fewer cards than the one the script was written for."""
    monkeypatch.setenv(MASK, "7")
    assert checks("one_card")["visible devices"].outcome is Outcome.failed


@pytest.mark.parametrize("name", ["no_driver", "held_by_another_container", "no_device"])
def test_an_npu_smi_that_fails_is_a_failure_with_a_cure(name: str) -> None:
    """Nothing else can be said then."""
    (check,) = checks(name).values()
    assert (check.name, check.outcome) == ("driver", Outcome.failed)
    assert check.cure


def test_a_container_that_has_the_npu_is_told() -> None:
    """The error is one of the table of symptoms."""
    assert "fuser" in checks("held_by_another_container")["driver"].cure


def test_no_npu_smi_tells_how_to_give_it_to_a_container(tmp_path: Path) -> None:
    """And how many NPUs there are in /dev."""
    (tmp_path / "davinci0").touch()
    (tmp_path / "davinci_manager").touch()
    (check,) = npu_checks(None, DeviceConfig(), 0, tmp_path)
    assert "1 NPU in /dev" in check.finding
    assert "--device=/dev/davinci_manager" in check.cure


def test_npu_smi_is_run_from_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output is taken whole, whatever its exit code."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert npu_smi_output() is None
    command = tmp_path / "npu-smi"
    command.write_text(f"#!/bin/sh\ncat {SAMPLES}/busy.txt; exit 3\n")
    command.chmod(0o755)
    assert npu_smi_output() == (SAMPLES / "busy.txt").read_text()


def test_an_npu_smi_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does while the driver resets a card."""
    command = tmp_path / "npu-smi"
    command.write_text("#!/bin/sh\nexec sleep 60\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(device_check, "_TIMEOUT_S", 0.2)
    assert npu_smi_output() == "npu-smi did not answer within 0.2 s"


def python(code: str) -> tuple[str, ...]:
    """Return a command that passes the first stage and then runs code."""
    say = f'print(\'{probe._MARK}\' + \'{{"stage": "mindspore", "found": {{}}}}\', flush=True)'
    return sys.executable, "-c", f"import os, sys\n{say}\n{code}"


def failure(given: Answer) -> Check:
    """Return the check of the stage at which a probe ended."""
    done, failed = probe_checks(given, DeviceKind.ascend)
    assert done.outcome is Outcome.ok
    assert (failed.name, failed.outcome) == ("NPU tensor", Outcome.failed)
    return failed


def test_a_probe_that_dies_by_a_signal_is_a_failure_that_says_so() -> None:
    """MindSpore may take its process with it."""
    check = failure(answer(python("os.kill(os.getpid(), 11)"), 60))
    assert check.finding == "it died of SIGSEGV"
    assert check.cure


def test_what_a_dying_probe_said_is_looked_up() -> None:
    """The symptom's cure is the check's."""
    words = "Assertion `state_.load() == kStackMask' failed."
    check = failure(answer(python(f"print({words!r}, file=sys.stderr); os.abort()"), 60))
    assert check.finding.startswith("it died of SIGABRT: A thread pool was torn down")
    assert "free -g" in check.cure


def test_a_probe_that_hangs_is_killed_with_its_children() -> None:
    """And the check says how long it was waited for."""
    code = "import subprocess; subprocess.run(['sleep', '60'])"
    assert failure(answer(python(code), 1)).finding == "it did not answer within 1 s"


def test_a_probe_that_ends_without_a_word_is_a_failure() -> None:
    """Not all stages were passed, so not all is well."""
    assert failure(answer(python(""), 60)).finding == "it ended without a message"


def test_the_device_s_own_error_is_named_and_cured() -> None:
    """As MindSpore raises it on a machine without CANN."""
    record = '{"stage": "tensor", "error": "RuntimeError: Unsupported device target Ascend."}'
    check = failure(answer(python(f"print({probe._MARK + record!r}); sys.exit(1)"), 60))
    assert "CANN" in check.finding
    assert "set_env.sh" in check.cure


def test_a_probe_computes_on_the_cpu_and_imports_mindone() -> None:
    """With the real MindSpore, in a process of its own."""
    given = probe.ask(DeviceConfig(), DeviceKind.cpu)
    assert given.fault == ""
    assert [*given.stages] == ["mindspore", "tensor", "mindone"]
    assert "mindspore" not in sys.modules or given.stages["mindspore"]["version"]
    assert all(c.outcome is Outcome.ok for c in probe_checks(given, DeviceKind.cpu))


def test_mindspore_tells_which_cann_it_takes() -> None:
    """Read from its own check of versions, so that none stands here."""
    found = probe.ask(DeviceConfig(), DeviceKind.ascend).stages["mindspore"]
    assert found["accepted_cann"]
    assert all(version.count(".") == 1 for version in found["accepted_cann"])
