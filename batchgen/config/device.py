"""Where a model runs, and the switches of that device."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from batchgen.config.validation import number_problem, prefixed


class DeviceKind(str, Enum):
    """Where a model runs; `auto` is an NPU if there is one, else the CPU for a small model."""

    auto = "auto"
    ascend = "ascend"
    cpu = "cpu"


@dataclass(kw_only=True)
class DeviceConfig:
    """The device of the job."""

    kind: DeviceKind = DeviceKind.auto
    index: int = 0
    """Which NPU, counted inside `ASCEND_RT_VISIBLE_DEVICES`."""
    max_memory: str | None = None
    """Limit of MindSpore's memory pool on an NPU, such as 50GB; None sets no limit."""
    deterministic: bool = True
    """Kernels that repeat exactly on an NPU; false may be faster, and a batch may not repeat."""
    dispatch_threads: int | None = None
    """Threads that dispatch operators to an NPU; None is MindSpore's default, 5."""
    cpu_affinity: list[str] | None = None
    """Cores MindSpore's threads keep to beside an NPU, such as [0-11,24-35]; [] lets MindSpore
    choose those near the NPU, None binds nothing."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each field that is out of range."""
        values = {"index": number_problem(self.index, 0, 1023, whole=True)}
        if self.max_memory is not None and not re.fullmatch(r"\d+(\.\d+)?GB", self.max_memory):
            values["max_memory"] = "is not a size such as 50GB"
        if self.dispatch_threads is not None:
            values["dispatch_threads"] = number_problem(self.dispatch_threads, 1, 1024, whole=True)
        if not all(re.fullmatch(r"\d+-\d+", cores) for cores in self.cpu_affinity or ()):
            values["cpu_affinity"] = "is not a list of ranges such as [0-11,24-35]"
        yield from prefixed("device.", values, self)
