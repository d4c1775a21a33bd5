"""What MindSpore is told before its first operator on an NPU; no NPU is needed to hear it."""

from __future__ import annotations

from typing import Any

from batchgen.config.device import DeviceConfig
from batchgen.pipelines.mindspore.machine import start_npu


class Recorder:
    """Stands where mindspore stands, and notes what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.runtime = self

    def set_device(self, *device: Any) -> None:
        """Note the device."""
        self.told.append(("device", *device))

    def set_deterministic(self, deterministic: bool) -> None:
        """Note the mode."""
        self.told.append(("deterministic", deterministic))

    def set_memory(self, *, max_size: str) -> None:
        """Note the cap."""
        self.told.append(("memory", max_size))

    def dispatch_threads_num(self, threads_num: int) -> None:
        """Note the threads."""
        self.told.append(("threads", threads_num))

    def set_cpu_affinity(self, enable: bool, cores: list[str] | None) -> None:
        """Note the cores."""
        self.told.append(("cores", enable, cores))


def test_the_device_comes_first_and_the_rest_only_where_it_is_asked_for() -> None:
    """Before a device is set MindSpore takes none of it."""
    recorder = Recorder()
    start_npu(recorder, DeviceConfig(index=3))
    assert recorder.told == [("device", "Ascend", 3), ("deterministic", True)]


def test_every_switch_reaches_mindspore() -> None:
    """In MindSpore's own words."""
    recorder = Recorder()
    device = DeviceConfig(max_memory="50GB", deterministic=False, dispatch_threads=8,
                          cpu_affinity=["0-11", "24-35"])  # fmt: skip
    start_npu(recorder, device)
    assert recorder.told == [
        ("device", "Ascend", 0),
        ("deterministic", False),
        ("memory", "50GB"),
        ("threads", 8),
        ("cores", True, ["0-11", "24-35"]),
    ]


def test_cores_may_be_left_to_mindspore() -> None:
    """An empty list is its own choice, by the NPU's place in the machine."""
    recorder = Recorder()
    start_npu(recorder, DeviceConfig(cpu_affinity=[]))
    assert recorder.told[-1] == ("cores", True, None)


def test_what_mindspore_takes_once_is_told_once() -> None:
    """The next model of a grid starts the same device again; set_deterministic would raise."""
    recorder = Recorder()
    device = DeviceConfig(max_memory="50GB", dispatch_threads=8, cpu_affinity=[])
    start_npu(recorder, device)
    n_told = len(recorder.told)
    start_npu(recorder, device)
    assert recorder.told[n_told:] == [("device", "Ascend", 0)]
