"""A noise schedule that is not known is refused by name, before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_model import REMOVED, weight_file, write_model, write_scheduler

from batchgen.errors import OtherModel
from batchgen.model.model_files import ModelFiles
from batchgen.model.noise_schedule import CLASSES, FILE, NoiseSchedule, read, refuse_marks

EDM = {
    "_class_name": "EDMEulerScheduler", "sigma_data": 0.5, "sigma_max": 80.0, "sigma_min": 0.002,
    "sigma_schedule": "karras", "beta_start": REMOVED, "beta_end": REMOVED,
    "beta_schedule": REMOVED,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole model."""
    return write_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (EDM, "is of the class EDMEulerScheduler"),
        ({"_class_name": "EDMDPMSolverMultistepScheduler"}, "class EDMDPMSolverMultistepScheduler"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEulerDiscreteScheduler"),
        ({"_class_name": "MyScheduler"}, "is of the class MyScheduler"),
        ({"_class_name": ["EulerDiscreteScheduler"]}, "is of the class"),
        ({"_class_name": REMOVED}, "has no _class_name"),
        ({"beta_schedule": "exp"}, "beta_schedule='exp', not scaled_linear, linear or squared"),
        ({"beta_schedule": REMOVED}, "beta_schedule=None"),
        ({"beta_schedule": {}}, "beta_schedule={}"),
        ({"beta_start": REMOVED}, "has no beta_start"),
        ({"beta_end": REMOVED}, "has no beta_end"),
        ({"beta_end": "0.012"}, "beta_end='0.012'"),
        ({"beta_start": 0}, "beta_start=0"),
        ({"beta_end": float("nan")}, "beta_end=nan"),
        ({"prediction_type": "flow_prediction"}, "prediction_type='flow_prediction', not epsilon"),
        ({"prediction_type": "sample"}, "prediction_type='sample'"),
        ({"prediction_type": None}, "prediction_type=None"),
        ({"timestep_spacing": "karras"}, "timestep_spacing='karras'"),
        ({"timestep_type": "continuous"}, "timestep_type='continuous'"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas=True"),
        ({"sigma_max": 120.0}, r"sigma_max=120\.0"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas="),
        ({"num_train_timesteps": "many"}, "num_train_timesteps='many'"),
        ({"rescale_betas_zero_snr": "yes"}, "rescale_betas_zero_snr='yes'"),
    ],
)
def test_an_unknown_schedule_is_refused(folder: Path, changes: dict[str, Any], said: str) -> None:
    """Each sampler would put its own defaults in place of what it does not find."""
    file = write_scheduler(folder, **changes)
    weight_file(folder, "unet").write_bytes(b"not looked into")
    with pytest.raises(OtherModel, match=said) as refused:
        ModelFiles(folder, "fp16").check()
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_model_may_come_with_each_scheduler_of_sdxls_schedule(folder: Path, name: str) -> None:
    """Their settings of the schedule have the same names and meanings."""
    write_scheduler(folder, _class_name=name, prediction_type=REMOVED, timestep_type="discrete")
    ModelFiles(folder, "fp16").check()


def test_the_class_in_model_index_is_looked_at_too(folder: Path) -> None:
    """It is the one that diffusers builds, and which drops what it does not know."""
    index = folder / "model_index.json"
    entry = '"scheduler": ["diffusers", "EDMEulerScheduler"]'
    index.write_text(f'{{"_class_name": "StableDiffusionXLPipeline", {entry}}}')
    with pytest.raises(OtherModel, match=r"by model_index\.json, of the class EDMEulerScheduler"):
        ModelFiles(folder, "fp16").check()


def test_cosine_betas_need_no_ends(folder: Path) -> None:
    """Their formula has none."""
    cosine = {"beta_schedule": "squaredcos_cap_v2", "beta_start": REMOVED, "beta_end": REMOVED}
    write_scheduler(folder, **cosine)
    ModelFiles(folder, "fp16").check()


@pytest.mark.parametrize("key", ["edm_mean", "edm_std", "edm_vpred.sigma_max", "edm_vpred.x"])
def test_a_single_file_of_edm_is_refused(folder: Path, key: str) -> None:
    """Playground v2.5 and CosXL look like SDXL otherwise."""
    single = folder.parent / "playground.safetensors"
    save_file({key: np.zeros(4, np.float32)}, single)
    with pytest.raises(OtherModel, match=rf"{single} has the tensor {key}, .*Playground v2\.5"):
        ModelFiles(folder, "fp16", single).check()


def test_v_prediction_and_its_mark_belong_together() -> None:
    """A file that predicts v beside a scheduler that does not say so would paint noise."""
    with pytest.raises(OtherModel, match=r"x predicts v, and s does not say so"):
        refuse_marks(Path("x"), ["v_pred"], Path("s"), "epsilon")
    refuse_marks(Path("x"), ["v_pred", "ztsnr"], Path("s"), "v_prediction")


@pytest.mark.parametrize(
    ("config", "keys", "expected"),
    [
        ({}, (), NoiseSchedule("epsilon", has_zero_snr=False, is_marked=False)),
        ({"rescale_betas_zero_snr": True}, (), NoiseSchedule("epsilon", True, False)),
        ({"rescale_betas_zero_snr": True}, ("ztsnr",), NoiseSchedule("epsilon", True, False)),
        ({"rescale_betas_zero_snr": False}, ("ztsnr",), NoiseSchedule("epsilon", True, True)),
        ({"prediction_type": "v_prediction"}, ("v_pred",),
         NoiseSchedule("v_prediction", False, False)),
    ],
)  # fmt: skip
def test_zero_snr_is_said_by_the_config_or_by_a_mark(
    config: dict[str, Any], keys: tuple[str, ...], expected: NoiseSchedule
) -> None:
    """What the mark alone says, version 0.1.0 did not read."""
    assert read(config, keys) == expected


def test_the_marks_are_read_from_the_file(folder: Path) -> None:
    """Empty tensors, as training tools write them."""
    single = folder.parent / "noob.safetensors"
    save_file({"v_pred": np.zeros(0, np.float32), "ztsnr": np.zeros(0, np.float32)}, single)
    write_scheduler(folder, prediction_type="v_prediction")
    schedule = ModelFiles(folder, "fp16", single).schedule()
    assert schedule == NoiseSchedule("v_prediction", has_zero_snr=True, is_marked=True)
    assert FILE == "scheduler/scheduler_config.json"
