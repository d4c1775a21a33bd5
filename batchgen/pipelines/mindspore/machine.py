"""The device a pipeline runs on: starting it, waiting for it, its memory."""

from __future__ import annotations

import functools
import logging
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.errors import DeviceError
from batchgen.faults import device_errors
from batchgen.faults.diagnosis import one_line, with_cure

logger = logging.getLogger(__name__)

STRAGGLERS = 8
"""How many further errors of a failed batch are collected: 2.7.1 raised up to six in turn."""


class Machine:
    """MindSpore, started on one device; the last user of the device's name."""

    def __init__(self, device: DeviceConfig, kind: DeviceKind, *, one_core: bool = False) -> None:
        """Import mindspore and bind it to the device; on a CPU before mindone is imported.

        `one_core` keeps MindSpore on one core of a CPU, which suits small models; see `at_work`.
        """
        self.is_ascend = kind is DeviceKind.ascend
        cores = sorted(os.sched_getaffinity(0))
        # By the process, so that several workers of one host do not all choose the same core.
        self._core = cores[os.getpid() % len(cores)] if one_core and not self.is_ascend else None
        with self.at_work():
            self.ms = imported()
            self._bind(device)
            self._probe = self.ms.tensor([1.0]) + 1.0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Run the block on the machine's core, if it has one; the thread is free again afterwards.

        MindSpore's threads wait by spinning. Beside two other busy processes on two cores, 20
        steps of the demo model took 12 s with all cores, 2.4 s when MindSpore's threads and their
        caller shared one (alone: 1.9 and 2.3 s), and over 100 s when the caller alone was free.
        Threads started elsewhere, such as those that save images, keep every core.
        """
        if self._core is None:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self._core})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    def _bind(self, device: DeviceConfig) -> None:
        ms = self.ms
        ms.set_context(mode=ms.PYNATIVE_MODE)
        if not self.is_ascend:
            ms.set_device("CPU")
            ms.runtime.launch_blocking()
            from batchgen.pipelines.mindspore import cpu_kernels

            cpu_kernels.install()
            return
        try:
            start_npu(ms, device)
        except (RuntimeError, ValueError, OSError) as error:
            raise device_errors.device_error(str(error), device.index) from error

    def synchronize(self) -> None:
        """Wait until the device has done all it was given; on a CPU nothing is ever pending."""
        if self.is_ascend:
            self.ms.runtime.synchronize()

    def stragglers(self) -> list[Exception]:
        """Return the errors pending after a failure, so that the next batch does not raise them.

        MindSpore raises an operator's failure in whichever call comes after it.
        """
        found: list[Exception] = []
        for _ in range(STRAGGLERS):
            try:
                self.synchronize()
                (self._probe + 1.0).asnumpy()
                break
            except (RuntimeError, ValueError, TypeError) as error:
                found.append(error)
        return found

    def reset_peak_memory(self) -> None:
        """Count the peak from here on."""
        if self.is_ascend:
            self.ms.runtime.reset_peak_memory_stats()
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            logger.debug("The kernel does not reset the peak memory: it is that of all the run.")

    def peak_memory_bytes(self) -> int:
        """Most memory in use since the reset: MindSpore's pool on an NPU, else the process."""
        if self.is_ascend:
            return int(self.ms.runtime.max_memory_allocated())
        with suppress(OSError):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def empty_cache(self) -> None:
        """Give freed device memory back to the driver."""
        if self.is_ascend:
            self.ms.runtime.empty_cache()


def imported() -> Any:
    """Import mindspore, or raise a `DeviceError` that says why it cannot be."""
    try:
        import mindspore
    except (ImportError, OSError) as error:
        raise DeviceError(
            with_cure(f"mindspore cannot be imported: {one_line(str(error))}")
            + " See `batchgen doctor`; docs/ascend.md has the versions that fit."
        ) from error
    return mindspore


def start_npu(ms: Any, device: DeviceConfig) -> None:
    """Bind MindSpore to an NPU, and set what holds for all of the process.

    MindSpore takes each of these once, before its first operator, and raises `RuntimeError` for
    another value later. The same value again, for the next model of a grid, is passed over here.
    """
    ms.set_device("Ascend", device.index)
    _set_once(ms.set_deterministic, device.deterministic)
    if device.max_memory is not None:
        _cap_memory(ms, device.max_memory)
    if device.dispatch_threads is not None:
        _set_once(ms.runtime.dispatch_threads_num, device.dispatch_threads)
    if device.cpu_affinity is not None:
        _bind_cores(ms, tuple(device.cpu_affinity))


@functools.cache
def _set_once(setter: Callable[[Any], None], value: object) -> None:
    setter(value)


@functools.cache
def _cap_memory(ms: Any, max_size: str) -> None:
    ms.runtime.set_memory(max_size=max_size)


@functools.cache
def _bind_cores(ms: Any, ranges: tuple[str, ...]) -> None:
    ms.runtime.set_cpu_affinity(True, list(ranges) or None)
