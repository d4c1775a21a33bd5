"""A job before it runs: device, environment, whether it is finished, what has changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeConfig, RunJob, WritePrompts

from batchgen.config.device import DeviceKind
from batchgen.config.models import DemoModel, FakeModel, SdxlModel
from batchgen.errors import DeviceError
from batchgen.ledger import events
from batchgen.ledger.state import LedgerState
from batchgen.runner.committed import set_aside
from batchgen.runner.device_choice import resolved_device
from batchgen.runner.identity import Job, comparable
from batchgen.storage.folder import JobFolder


@pytest.fixture
def npus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of NPUs this machine has; empty until a test adds some."""
    names: list[str] = []
    listed = Path.glob

    def glob(path: Path, pattern: str) -> Iterator[Path]:
        if path == Path("/dev"):
            return iter([path / name for name in names])
        return iter(listed(path, pattern))

    monkeypatch.setattr(Path, "glob", glob)
    return names


@pytest.fixture
def finished(prompts: WritePrompts, run_job: RunJob) -> Path:
    """A job of three images that is all done; return its table."""
    table = prompts(3)
    assert run_job().exit_code == 0
    return table


def n_finished(config: Any) -> int | None:
    """Return what the job of a config says of itself."""
    found = Job.identify(config).n_finished()
    return None if found is None else found[0]


@pytest.mark.usefixtures("npus")
def test_full_size_model_is_refused_on_a_cpu_nobody_asked_for(fake_config: MakeConfig) -> None:
    """A night is not lost to a missing driver; the refusal names both ways out."""
    config = fake_config(model=SdxlModel())
    with pytest.raises(DeviceError, match=r"No NPU .*sdxl-base.*device=cpu.*model=demo"):
        resolved_device(config)


@pytest.mark.usefixtures("npus")
def test_full_size_model_runs_on_a_cpu_that_was_asked_for(fake_config: MakeConfig) -> None:
    """`device=cpu` is enough."""
    config = fake_config(model=SdxlModel(), device="cpu")
    assert resolved_device(config) is DeviceKind.cpu


@pytest.mark.usefixtures("npus")
@pytest.mark.parametrize("model", [DemoModel(), FakeModel()])
def test_small_model_runs_on_a_cpu_by_default(fake_config: MakeConfig, model: FakeModel) -> None:
    """For trials nothing need be said."""
    assert resolved_device(fake_config(model=model)) is DeviceKind.cpu


def test_npu_is_taken_where_there_is_one(fake_config: MakeConfig, npus: list[str]) -> None:
    """For every model."""
    npus.append("davinci0")
    for model in (SdxlModel(), FakeModel()):
        assert resolved_device(fake_config(model=model)) is DeviceKind.ascend


def identify(fake_config: MakeConfig, **settings: Any) -> Job:
    """Return the job of the small config with some settings."""
    return Job.identify(fake_config("/tables/t.csv", **settings))


@pytest.mark.parametrize(
    "changed",
    [
        {"batch_size": 2},
        {"images": "jpeg"},
        {"images": {"compress_level": 9}},
    ],
)
def test_what_shapes_the_files_is_part_of_the_identity(
    fake_config: MakeConfig, changed: dict[str, Any]
) -> None:
    """Settings aside: those are in each image's fingerprint."""
    assert identify(fake_config).identity != identify(fake_config, **changed).identity


@pytest.mark.parametrize(
    "changed",
    [
        {"limit": 2},
        {"name": "other"},
        {"output_root": "/elsewhere"},
        {"retry": {"max_attempts": 9}},
        {"timeout": {"batch_s": 9.0}},
        {"stop": {"max_hours": 9.0}},
        {"model": FakeModel(latency_s=1.0, fail_rows=[1])},
    ],
)
def test_what_shapes_no_file_is_not(fake_config: MakeConfig, changed: dict[str, Any]) -> None:
    """Paths, limits, patience and rehearsed faults may change from start to start."""
    before, after = identify(fake_config), identify(fake_config, **changed)
    assert before.identity == after.identity
    assert before.description == after.description


def test_environment_holds_versions_device_dtype_and_format(fake_config: MakeConfig) -> None:
    """Of the fake model only what it uses."""
    environment = identify(fake_config, batch_size=3).environment
    assert environment["batch_size"] == 3
    assert environment["device"] == "cpu"
    assert set(environment["versions"]) == {"batchgen", "numpy", "pillow"}
    assert environment["images"]["format"] == "png"
    assert environment["dtype"]


def test_switches_that_may_shape_pixels_are_in_the_environment(fake_config: MakeConfig) -> None:
    """Tiles may show seams, and kernels that are not deterministic repeat nothing."""
    plain = identify(fake_config).environment
    assert (plain["vae_tiling"], plain["deterministic"]) == ("off", True)
    model, device = FakeModel(vae_tiling="on"), {"deterministic": False}
    other = identify(fake_config, model=model, device=device).environment
    assert (other["vae_tiling"], other["deterministic"]) == ("on", False)


def test_model_is_part_of_the_identity(fake_config: MakeConfig) -> None:
    """`batch_sensitive` makes other pixels, so it is another model."""
    other = identify(fake_config, model=FakeModel(batch_sensitive=True))
    assert identify(fake_config).identity != other.identity


def test_finished_job_knows_how_many_images_it_has(finished: Path, fake_config: MakeConfig) -> None:
    """Without a second look at the table."""
    assert n_finished(fake_config(finished)) == 3


def test_unfinished_job_is_not_finished(
    prompts: WritePrompts, run_job: RunJob, fake_config: MakeConfig
) -> None:
    """Before the first start, after a failure, after an early stop."""
    table = prompts(3)
    assert n_finished(fake_config(table)) is None
    run_job(model=FakeModel(fail_rows=[0]))
    assert n_finished(fake_config(table, model=FakeModel(fail_rows=[0]))) is None
    run_job(stop={"max_hours": 0})
    assert n_finished(fake_config(table)) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"batch_size": 2},
        {"limit": 2},
        {"seed": 1},
        {"sampling": {"steps": 9}},
        {"on_change": "redo"},
    ],
)
def test_other_settings_need_a_second_look(
    finished: Path, fake_config: MakeConfig, changed: dict[str, Any]
) -> None:
    """Whatever may change what there is to do."""
    assert n_finished(fake_config(finished, **changed)) is None


def test_touched_table_needs_a_second_look(finished: Path, fake_config: MakeConfig) -> None:
    """An edit may keep the size; the time stamp tells."""
    os.utime(finished, ns=(0, 0))
    assert n_finished(fake_config(finished)) is None


def test_lost_metadata_needs_a_second_look(
    finished: Path, fake_config: MakeConfig, folder: JobFolder
) -> None:
    """job.json alone proves nothing."""
    folder.metadata.unlink()
    assert n_finished(fake_config(finished)) is None


def failed(attempt: int) -> dict[str, Any]:
    """Return a failure after so many attempts."""
    return {"row_key": "a", "image_index": 0, "attempt": attempt, "fingerprint": "0" * 16}


def aside_of(fake_config: MakeConfig, *given: dict[str, Any], **retry: Any) -> Any:
    """Return what is set aside after these events."""
    state = LedgerState()
    for event in given:
        state.apply(events.parse(event))
    return set_aside(state, fake_config(retry=retry))


def test_failed_image_is_retried_until_its_attempts_are_spent(fake_config: MakeConfig) -> None:
    """Three by default."""
    for attempt in (1, 2):
        aside = aside_of(fake_config, {"type": "fail", "failure": failed(attempt)})
        assert (aside.retries, aside.failed) == ({("a", 0): attempt}, {})
    aside = aside_of(fake_config, {"type": "fail", "failure": failed(3)})
    assert (aside.retries, aside.failed) == ({}, {("a", 0): 3})


def test_deaths_alone_count_as_attempts(fake_config: MakeConfig) -> None:
    """Those in company do not, and failures add up with them."""
    suspects = [
        {"type": "suspect", "keys": keys, "run_id": run_id, "reason": "died"}
        for run_id, keys in (("r1", [["a", 0], ["b", 0]]), ("r2", [["a", 0]]))
    ]
    aside = aside_of(fake_config, {"type": "fail", "failure": failed(1)}, *suspects)
    assert aside.retries == {("a", 0): 2, ("b", 0): 0}


def test_retry_failed_starts_anew(fake_config: MakeConfig) -> None:
    """Nothing is set aside: the rows are made in their batches again."""
    aside = aside_of(fake_config, {"type": "fail", "failure": failed(3)}, failed=True)
    assert (aside.retries, aside.failed) == ({}, {})


@pytest.mark.parametrize("versions", [None, [], "x", {"numpy": None}])
def test_versions_of_another_shape_are_none(versions: object) -> None:
    """An environment in a job.json that somebody edited is compared by what else it says."""
    compared = comparable({"dtype": "float32", "versions": versions})
    assert compared["dtype"] == "float32"
    assert compared["versions"] in ({}, {"numpy": None})
