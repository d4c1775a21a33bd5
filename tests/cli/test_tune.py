"""`batchgen tune`, where the fake model's latency makes the outcome exact."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchgen.cli.main import main
from batchgen.errors import ExitCode
from batchgen.runner.tuning import Trial, best

TUNE = ("tune", "table=t.csv", "model=fake", "sampling.width=64", "sampling.height=64")

pytestmark = pytest.mark.usefixtures("workplace")


def found(capsys: pytest.CaptureFixture[str], *overrides: str) -> list[dict[str, Any]]:
    """Return what a command says to programs."""
    assert main([*TUNE, "--json", *overrides]) == ExitCode.done
    trials: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return trials


def trial(batch_size: int, images_per_minute: float) -> Trial:
    """Return a trial that came to a rate."""
    return Trial(batch_size, images_per_minute, 0, 0, 0, 0, 0)


def test_sizes_are_tried_up_to_out_of_memory_and_then_halfway(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """8 does not fit, 6 does; with a second a batch the largest is the best."""
    trials = found(capsys, "model.oom_above_batch=6", "model.batch_latency_s=0.1")
    assert [one["batch_size"] for one in trials] == [1, 2, 4, 6]
    assert [one["batch_size"] for one in trials if one["is_best"]] == [6]
    for one in trials:
        assert 0 < one["images_per_minute"] <= 600 * one["batch_size"]
        assert one["first_batch_s"] >= 0.1
    assert list(trials[0]) == [
        "batch_size",
        "images_per_minute",
        "peak_memory_bytes",
        "encode_s",
        "denoise_s",
        "decode_s",
        "first_batch_s",
        "is_best",
    ]


def test_a_size_that_does_not_fit_halfway_is_passed_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither 8 nor 6."""
    trials = found(capsys, "model.oom_above_batch=5", "model.batch_latency_s=0.01")
    assert [one["batch_size"] for one in trials] == [1, 2, 4]


def test_the_smallest_size_within_two_percent_is_the_best() -> None:
    """More memory and a longer wait for nothing are no gain."""
    trials = [trial(1, 50), trial(2, 98), trial(4, 97.9), trial(8, 100)]
    assert best(trials).batch_size == 2
    assert best([trial(1, 50), trial(2, 97.9), trial(4, 100)]).batch_size == 4


def test_the_table_marks_the_best_and_no_folder_is_made(
    capsys: pytest.CaptureFixture[str], workplace: Any
) -> None:
    """Whoever tunes has not begun a job."""
    before = sorted(workplace.rglob("*"))
    overrides = ("model.oom_above_batch=2", "model.batch_latency_s=0.05")
    assert main([*TUNE, *overrides]) == ExitCode.done
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "batch_size"
    assert [line.split()[0] for line in lines if line.endswith("best")] == ["2"]
    assert sorted(workplace.rglob("*")) == before


def test_where_not_even_one_image_fits_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no size to name."""
    assert main([*TUNE, "model.oom_above_batch=0"]) == ExitCode.refused
    assert "Not even a batch of one image fits" in capsys.readouterr().err


def test_a_row_that_fails_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """No rate is told of batches that were not made."""
    assert main([*TUNE, "model.fail_rows=[0]"]) == ExitCode.not_all_well
    assert "a batch failed" in capsys.readouterr().err


def test_plan_points_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Before the first start; the batch size is part of a job's identity."""
    assert main(["plan", *TUNE[1:]]) == ExitCode.done
    assert "`batchgen tune`" in capsys.readouterr().out
