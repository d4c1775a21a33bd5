"""Which shard of a job a process makes."""

from __future__ import annotations

import pytest

from batchgen.config.job import JobConfig
from batchgen.config.shard import Shard, of_folder, parsed, problem, resolved

ARRAY = {
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_ARRAY_TASK_MIN": "0",
    "SLURM_ARRAY_TASK_MAX": "15",
    "SLURM_ARRAY_TASK_STEP": "1",
    "SLURM_ARRAY_TASK_COUNT": "16",
}


@pytest.mark.parametrize(
    ("shard", "name"),
    [
        (Shard(3, 16), "shard-03-of-16"),
        (Shard(0, 1), "shard-00-of-01"),
        (Shard(7, 1000), "shard-0007-of-1000"),
    ],
)
def test_a_folder_names_its_shard(shard: Shard, name: str) -> None:
    """With two digits at least, as many as the count has."""
    assert shard.folder_name == name
    assert of_folder(name) == shard
    assert of_folder(f"{name}x") is None
    assert of_folder(name.replace("-0", "-000")) is None


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("3/16", ARRAY, "3/16"),
        ("auto/8", ARRAY, "3/8"),
        ("auto/8", {"JOB_COMPLETION_INDEX": "5"}, "5/8"),
        ("auto", ARRAY, "3/16"),
        ("auto", {**ARRAY, "SLURM_ARRAY_TASK_COUNT": "1"}, "auto"),
        ("auto", {**ARRAY, "SLURM_ARRAY_TASK_MIN": "1"}, "auto"),
        ("auto", {**ARRAY, "SLURM_ARRAY_TASK_STEP": "2"}, "auto"),
        ("auto", {"JOB_COMPLETION_INDEX": "5"}, "auto"),
        ("auto/8", {}, "auto/8"),
    ],
)
def test_auto_is_what_the_scheduler_says(text: str, environ: dict[str, str], expected: str) -> None:
    """The count of a Slurm array only where it is a whole one."""
    assert resolved(text, environ) == expected


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("16/16", "counted from 0: the last of 16 is 15/16"),
        ("auto", "--array=0-15"),
        ("auto/16", "finds neither SLURM_ARRAY_TASK_ID"),
        ("3", "is not a shard"),
        ("0/0", "is not a shard"),
        ("-1/4", "is not a shard"),
    ],
)
def test_what_is_no_shard_is_told(text: str, what: str) -> None:
    """With what to write."""
    assert what in str(problem(text))
    (said,) = JobConfig(table="t.csv", shard=text).problems()
    assert said.startswith(f"shard='{text}'")
    assert what in said


def test_a_shard_has_a_folder_in_that_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its setting says which one, whatever the scheduler says later."""
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "5")
    config = JobConfig(table="t.csv", shard="auto/8")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "6")
    assert (config.shard, parsed(config.shard)) == ("5/8", Shard(5, 8))
    assert str(config.folder) == "outputs/t/shard-05-of-08"
    assert str(config.whole_folder) == "outputs/t"
