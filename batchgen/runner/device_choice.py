"""The device a job runs on: an NPU or the CPU."""

from __future__ import annotations

from pathlib import Path

from batchgen.config.device import DeviceKind
from batchgen.config.job import JobConfig
from batchgen.config.models import FakeModel
from batchgen.config.workers import ExecutorKind
from batchgen.errors import DeviceError

_DEV = Path("/dev")


def resolved_device(config: JobConfig) -> DeviceKind:
    """Return `ascend` or `cpu` for the device a job asks for.

    An NPU shows as /dev/davinci<N>. Raises `DeviceError` where there is none although the job asks
    for one, and where a full-size model would run on a CPU without being asked to.
    """
    if isinstance(config.model, FakeModel) and config.device.kind is not DeviceKind.auto:
        return config.device.kind
    has_npu = any(_DEV.glob("davinci[0-9]*"))
    is_elsewhere = config.executor.kind is ExecutorKind.ray  # the driver's host may have none
    if config.device.kind is DeviceKind.ascend and not has_npu and not is_elsewhere:
        raise DeviceError(
            "device=ascend, and no NPU is here (there is no /dev/davinci*). Check the driver with "
            "npu-smi info, and `batchgen doctor device=ascend`; device=cpu runs a small model."
        )
    if config.device.kind is not DeviceKind.auto:
        return config.device.kind
    if has_npu:
        return DeviceKind.ascend
    if config.model.full_size:
        raise DeviceError(
            f"No NPU here (there is no /dev/davinci*), and model={config.model.name} takes minutes "
            "a step on a CPU. Check the driver with npu-smi info; device=cpu runs it all the same, "
            "model=demo is small."
        )
    return DeviceKind.cpu
