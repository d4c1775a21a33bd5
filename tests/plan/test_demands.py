"""What the weights of a job demand of its settings: refused, or told in a line."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeConfig, RunJob, WriteTable
from lora_files import write_lora
from safetensors.numpy import save_file
from tiny_model import CONFIGS, joined, write_model, write_scheduler

import batchgen
from batchgen.config.device import DeviceKind
from batchgen.config.job import JobConfig
from batchgen.config.models import SdxlModel
from batchgen.doctor import model_check
from batchgen.doctor.check import Outcome
from batchgen.errors import ConfigError, OtherModel, Refused, TableError
from batchgen.model.noise_schedule import FILE
from batchgen.model.weights import DEMO_FOLDER
from batchgen.report.forecast import forecast
from batchgen.runner.identity import Job

EDM_CASE = {
    "_class_name": "EDMEulerScheduler", "num_train_timesteps": 1000, "prediction_type": "epsilon",
    "sigma_data": 0.5, "sigma_max": 80.0, "sigma_min": 0.002, "sigma_schedule": "karras",
}  # fmt: skip

Demo = Callable[..., SdxlModel]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of files are kept below `tmp_path`."""
    monkeypatch.setenv("BATCHGEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    """Return a function that links the demo model under a name, with another scheduler's config."""

    def link(name: str = "copy", **scheduler: Any) -> SdxlModel:
        folder = tmp_path / name
        shutil.copytree(DEMO_FOLDER, folder, copy_function=os.symlink)
        config = json.loads((folder / FILE).read_bytes())
        (folder / FILE).unlink()
        (folder / FILE).write_text(json.dumps(scheduler.get("instead") or config | scheduler))
        return SdxlModel(path=str(folder), variant=None, full_size=False, width=64, height=64)

    return link


def refused_by(config: JobConfig, kind: type[Refused]) -> set[str]:
    """Return what `plan` and `run` say of a job that both refuse."""
    said = set()
    with pytest.raises(kind) as plan:
        list(forecast(config))
    said.add(str(plan.value))
    with pytest.raises(kind) as run:
        batchgen.run(config)
    return said | {str(run.value)}


def test_a_model_of_another_noise_schedule_is_refused_by_all(
    demo: Demo, write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """As Playground v2.5, in the same words by `plan`, `run` and `doctor`."""
    model = demo(instead=EDM_CASE)
    table = write_table("prompt\na cat\n")
    (said,) = refused_by(fake_config(table, model=model), OtherModel)
    assert "is of the class EDMEulerScheduler" in said
    check = next(iter(model_check.checks(model, DeviceKind.cpu)))
    assert check.outcome is Outcome.failed
    assert "EDMEulerScheduler" in check.finding
    assert check.cure.startswith("Take a model of SDXL's own noise schedule")


def test_a_scheduler_without_zero_snr_is_refused_with_a_model_of_it(
    demo: Demo, write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """MindOne's would pass the setting over, and draw with other betas."""
    model = demo(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    table = write_table("prompt\na cat\n")
    config = fake_config(table, model=model, sampling={"scheduler": "DPM2 a Karras"})
    (said,) = refused_by(config, ConfigError)
    assert said.startswith("sampling.scheduler=kdpm2_ancestral_karras cannot draw with this model")
    assert "euler_ancestral" in said
    check = next(iter(model_check.checks(model, DeviceKind.cpu, "heun")))
    assert check.outcome is Outcome.failed
    assert check.cure.startswith("Take one of euler")


def test_a_rows_own_scheduler_is_refused_by_row(
    demo: Demo, write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """One that fits is not, and neither is any with another model."""
    table = write_table("prompt,scheduler\na cat,ddim\na dog,Heun\n")
    config = fake_config(table, model=demo(rescale_betas_zero_snr=True))
    (said,) = refused_by(config, TableError)
    assert "row 1: scheduler 'heun' cannot draw with this model" in said
    list(forecast(fake_config(table, model=demo("plain"))))
    write_table("prompt,scheduler\na cat,ddim\na dog,\n")
    list(forecast(config))


@pytest.mark.parametrize(
    ("marks", "says_so", "numbers"),
    [
        (["v_pred", "ztsnr"], False, {"mark.ztsnr": 2}),
        (["v_pred", "ztsnr"], True, None),
        (["v_pred"], False, None),
    ],
)
def test_pictures_that_a_mark_changes_are_told_from_those_of_before(
    tmp_path: Path,
    fake_config: MakeConfig,
    marks: list[str],
    says_so: bool,
    numbers: dict[str, int] | None,
) -> None:
    """0.1.0 did not read the mark; where the config says it as well, nothing changed."""
    folder = write_model(tmp_path / "model")
    write_scheduler(folder, prediction_type="v_prediction", rescale_betas_zero_snr=says_so)
    single = tmp_path / "noob.safetensors"
    empty = {mark: np.zeros(0, np.float32) for mark in marks}
    save_file(joined(folder, "fp16", CONFIGS) | empty, single)
    model = SdxlModel(path=str(single), config_path=str(folder), full_size=False)
    job = Job.identify(fake_config(model=model))
    assert job.environment.get("revisions") == numbers
    assert job.demands.schedule.has_zero_snr is ("ztsnr" in marks or says_so)


def notes_of(config: JobConfig) -> list[str]:
    """Return the notes of a plan about weights."""
    return [line for line in forecast(config) if line.startswith("note") and "named like" in line]


@pytest.mark.parametrize(
    ("name", "preset"),
    [("SDXL-Lightning", "lightning-4"), ("my_lcm_xl", "lcm-4"), ("dreamshaperXLTurbo", "turbo")],
)
def test_a_few_step_model_at_the_settings_of_sdxl_is_told_once(
    demo: Demo, write_table: WriteTable, fake_config: MakeConfig, name: str, preset: str
) -> None:
    """With the preset; settings that fit need no line."""
    table = write_table("prompt\n" + "a cat\n" * 3)
    model = demo(name)
    (note,) = notes_of(fake_config(table, model=model))
    assert f"sampling={preset} " in note
    assert "3 rows with more, the first row 0" in note
    assert not notes_of(fake_config(table, model=model, sampling=fitting(note)))
    assert notes_of(fake_config(table, model=model, sampling={"steps": 4}))


def fitting(note: str) -> dict[str, Any]:
    """Return the settings that a note advises."""
    advised = note.rpartition(": ")[2].split()
    pairs = (setting.removeprefix("sampling.").split("=") for setting in advised)
    numbers = {"steps": int, "guidance_scale": float}
    return {key: numbers.get(key, str)(value) for key, value in pairs}


def test_a_few_step_lora_is_told_where_rows_use_it(
    tmp_path: Path,
    write_table: WriteTable,
    fake_config: MakeConfig,
    run_job: RunJob,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rows that leave it out, have fitting settings or lie beyond `limit` do not count."""
    file = write_lora(tmp_path / "sdxl_lightning_4step_lora.safetensors")
    table = write_table(
        "prompt,lora,steps,guidance_scale\na,none,,\nb,fast,4,0\nc,fast:0.9,,1\nd,fast,,\n"
    )
    config: dict[str, Any] = {"adapters": {"fast": {"path": str(file)}}}
    (note,) = notes_of(fake_config(table, **config))
    assert "adapters.fast is named like SDXL-Lightning" in note
    assert "2 rows with more, the first row 2" in note
    assert not notes_of(fake_config(table, limit=2, **config))
    with caplog.at_level(logging.WARNING):
        assert run_job(**config).exit_code == 0
    assert sum("named like SDXL-Lightning" in message for message in caplog.messages) == 1


def test_schedulers_that_call_the_unet_twice_are_refused_with_a_cache(
    write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """By name, of the job as of a row, before a model is loaded."""
    table = write_table("prompt\na cat\n")
    for name in ("heun", "heun_karras", "kdpm2_ancestral", "kdpm2_ancestral_karras"):
        config = fake_config(table, sampling={"unet_cache": 3, "scheduler": name})
        (said,) = refused_by(config, ConfigError)
        assert f"sampling.scheduler={name} calls the UNet twice a step" in said
        assert "unet_cache=3" in said
    rows = write_table("prompt,scheduler,unet_cache\na,heun,\nb,euler,2\nc,heun,2\n", "rows.csv")
    (said,) = refused_by(fake_config(rows), TableError)
    assert said.startswith("row 2: scheduler 'heun' calls the UNet twice a step")


def test_a_branch_that_the_unet_does_not_have_is_refused(
    write_table: WriteTable, fake_config: MakeConfig, demo: Demo
) -> None:
    """The config of the model's UNet says how many there are."""
    table, model = write_table("prompt\na cat\n"), demo()
    config = fake_config(table, model=model, sampling={"unet_cache": 2, "unet_cache_branch": 6})
    (said,) = refused_by(config, ConfigError)
    assert said.endswith(
        "sampling.unet_cache_branch=6 is not in the UNet of this model, whose last is 5."
    )
    rows = write_table("prompt,unet_cache,unet_cache_branch\na,0,8\nb,2,7\n", "rows.csv")
    (said,) = refused_by(fake_config(rows, model=model), TableError)
    assert said == "row 1: unet_cache_branch 7 is not in the UNet of this model, whose last is 5."


def test_a_cache_with_few_step_weights_is_told(
    tmp_path: Path, write_table: WriteTable, fake_config: MakeConfig
) -> None:
    """Where a row uses both; a cache of every step is none."""
    file = write_lora(tmp_path / "sdxl_lightning_4step_lora.safetensors")
    table = write_table(
        "prompt,lora,steps,guidance_scale,unet_cache\na,none,20,7,3\nb,fast,4,0,1\nc,fast,4,0,2\n"
    )
    config: dict[str, Any] = {"adapters": {"fast": {"path": str(file)}}}
    (note,) = notes_of(fake_config(table, **config))
    assert "adapters.fast is named like SDXL-Lightning" in note
    assert "unet_cache gains little there" in note
    assert "the first row with it is 2" in note
    assert not notes_of(fake_config(table, limit=2, **config))
