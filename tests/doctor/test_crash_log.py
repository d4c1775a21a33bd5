"""`doctor --log` on samples: crash logs named NAME--N.log, and logs that raise no alarm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchgen.doctor import crash_log
from batchgen.doctor.crash_log import sightings
from batchgen.errors import ConfigError
from batchgen.faults.symptoms import SYMPTOMS

SAMPLES = Path(__file__).parents[1] / "samples"
CRASHES = sorted((SAMPLES / "crash_logs").glob("*.log"))
HARMLESS = sorted((SAMPLES / "harmless_logs").glob("*.log"))


def names(path: Path) -> list[str]:
    """Return the names of what a log shows, the cause first."""
    return [sighting.symptom.name for sighting in sightings(path)]


def test_there_are_samples_of_every_symptom() -> None:
    """At least thirty crashes, twenty harmless logs, and none of the table left out."""
    assert len(CRASHES) >= 30
    assert len(HARMLESS) >= 20
    assert {path.name.partition("--")[0] for path in CRASHES} == {one.name for one in SYMPTOMS}


@pytest.mark.parametrize("path", CRASHES, ids=lambda path: path.stem)
def test_a_crash_is_named_by_its_cause(path: Path) -> None:
    """The first name is that of the file."""
    assert names(path)[:1] == [path.name.partition("--")[0]]


@pytest.mark.parametrize("path", HARMLESS, ids=lambda path: path.stem)
def test_a_harmless_log_raises_no_alarm(path: Path) -> None:
    """Warnings, levels below, prompts and the faults of other programs are no symptoms."""
    assert names(path) == []


def test_what_follows_from_a_known_fault_is_told_after_it() -> None:
    """The thread pool of the report fell over after memory had run out."""
    found = sightings(SAMPLES / "crash_logs" / "device-oom--3.log")
    assert [one.symptom.name for one in found][:2] == ["device-oom", "graph-threadpool"]
    assert found[1].after == "device-oom in line 1"


def test_hccl_errors_after_a_full_device_are_secondary() -> None:
    """The communication breaks because one side has failed."""
    assert names(SAMPLES / "crash_logs" / "device-oom--1.log") == ["device-oom", "hccl"]


def test_an_unknown_error_above_the_thread_pool_is_pointed_at() -> None:
    """By its line: its text is the log's."""
    found = sightings(SAMPLES / "crash_logs" / "graph-threadpool--1.log")
    assert found[0].after == "an error that is not known here, in line 1"


def test_source_around_a_frame_is_no_fault() -> None:
    """A notebook shows the errors that were not raised beside the one that was."""
    assert names(SAMPLES / "crash_logs" / "weights-damaged--2.log") == ["weights-damaged"]


def test_what_cann_tells_below_an_error_is_its_cause() -> None:
    """The failed communication is named after the process that holds the NPU."""
    assert names(SAMPLES / "crash_logs" / "device-busy--3.log") == ["device-busy", "hccl"]


def test_the_log_is_never_repeated(tmp_path: Path) -> None:
    """It may hold prompts, paths and names that are nobody else's business."""
    log = tmp_path / "secret.log"
    log.write_text("/home/alice: The kernel Geheimnis unregistered\n", encoding="utf-8")
    found = sightings(log)
    told = "\n".join([*crash_log.report(found), crash_log.as_json(found)])
    assert "cpu-kernel-missing" in told
    assert "alice" not in told
    assert "Geheimnis" not in told


def test_a_fault_is_found_on_either_side_of_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line longer than a block, without an end, holds it across the cut."""
    monkeypatch.setattr(crash_log, "_BLOCK_CHARS", 2000)
    log = tmp_path / "one_line.log"
    log.write_text("x" * 1990 + " The kernel Conv2DExt unregistered " + "y" * 5000)
    assert names(log) == ["cpu-kernel-missing"]


def test_lines_are_counted_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an editor counts them."""
    monkeypatch.setattr(crash_log, "_BLOCK_CHARS", 100)
    log = tmp_path / "long.log"
    log.write_text("all is well\n" * 999 + "OSError: No space left on device\n")
    assert sightings(log)[0].line == 1000


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    """A log may be torn, or hold what a program wrote into its pipe."""
    log = tmp_path / "torn.log"
    log.write_bytes(bytes(range(256)) * 100 + b"\nThe kernel StackExt unregistered\n")
    assert names(log) == ["cpu-kernel-missing"]


def test_a_log_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The message names the file."""
    with pytest.raises(ConfigError, match=r"none\.log is not there"):
        sightings(tmp_path / "none.log")


def test_the_record_for_programs_has_name_line_and_cure() -> None:
    """A list, the cause first."""
    found = sightings(SAMPLES / "crash_logs" / "disk-full--1.log")
    (record,) = json.loads(crash_log.as_json(found))
    assert (record["name"], record["line"], record["after"]) == ("disk-full", 5, None)
    assert "df -h" in record["cure"]
