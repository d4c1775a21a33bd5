"""Schedulers of mindone as they are built for a model's noise schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_model import SCHEDULER

from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.schedulers import NO_ZERO_SNR, SCHEDULERS
from batchgen.pipelines.mindspore.loading import import_mindone
from batchgen.pipelines.mindspore.machine import Machine
from batchgen.pipelines.mindspore.scheduler import scheduler

V_MODEL: dict[str, Any] = SCHEDULER | {"prediction_type": "v_prediction"}


@pytest.fixture(scope="module")
def machine() -> Machine:
    """MindSpore on the CPU, with mindone imported."""
    machine = Machine(DeviceConfig(), DeviceKind.cpu, one_core=True)
    import_mindone()
    return machine


@pytest.mark.parametrize("name", sorted(SCHEDULERS.keys() - NO_ZERO_SNR))
@pytest.mark.parametrize("spacing", ["model", "trailing"])
def test_a_zero_snr_scheduler_ends_in_noise_alone_and_steps(
    machine: Machine, name: str, spacing: str
) -> None:
    """What is left of the signal at the last timestep is nothing, and no step divides by it."""
    with machine.at_work():
        plain = scheduler(name, V_MODEL)
        one = scheduler(name, V_MODEL, spacing, has_zero_snr=True)
        assert float(plain.alphas_cumprod[-1].asnumpy()) > 1e-3
        assert float(one.alphas_cumprod[-1].asnumpy()) < 1e-6
        assert one.config.timestep_spacing == ("leading" if spacing == "model" else spacing)
        one.set_timesteps(4)
        noise = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
        sample = machine.ms.Tensor(noise) * one.init_noise_sigma
        for timestep in one.timesteps:
            taken = one.scale_model_input(sample, timestep)
            sample = one.step(taken * 0, timestep, sample)[0]
        assert np.isfinite(sample.asnumpy()).all()


def test_mindones_unipc_fails_with_zero_snr(machine: Machine) -> None:
    """So it is not offered; this test fails where a MindOne mends it."""
    with machine.at_work(), pytest.raises(AttributeError, match="alphas_cumprod"):
        scheduler("unipc", V_MODEL, has_zero_snr=True)


def test_a_models_own_setting_needs_no_mark(machine: Machine) -> None:
    """Its scheduler_config.json says it to each scheduler that knows it."""
    with machine.at_work():
        one = scheduler("ddim", V_MODEL | {"rescale_betas_zero_snr": True})
        assert float(one.alphas_cumprod[-1].asnumpy()) < 1e-6
