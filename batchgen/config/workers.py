"""Where the batches of a job are made: in this process, or by workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from batchgen.config.validation import number_problem, prefixed


class ExecutorKind(str, Enum):
    """Where batches are made."""

    local = "local"
    ray = "ray"


@dataclass(kw_only=True)
class ExecutorConfig:
    """The workers of the job; all but `kind` is for `ray`, of the extra batchgen[ray]."""

    kind: ExecutorKind = ExecutorKind.local
    address: str | None = None
    """Of a Ray cluster, such as `auto` or 10.0.0.1:6379; None starts one on this host."""
    workers: int | None = None
    """Workers, each with a model of its own; None is one for each NPU of the cluster."""
    cpus_per_worker: float = 1.0
    """Cores a worker takes of what Ray counts; may be a fraction. On a CPU, a worker keeps to its
    own cores where this is a whole number."""
    max_restarts: int = 100
    """Workers that may be replaced in a start; one after ten committed images is not counted."""
    lease: int = 2
    """Batches a worker holds, so that it never waits for the next one."""
    silence_s: float = 30.0
    """Seconds without a sign of life after which a worker is given up, and a worker ends whose
    driver gives none."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each field that is out of range."""
        values = {
            "cpus_per_worker": number_problem(self.cpus_per_worker, 0.01, 1024),
            "max_restarts": number_problem(self.max_restarts, 0, 10**6, whole=True),
            "lease": number_problem(self.lease, 1, 1000, whole=True),
            "silence_s": number_problem(self.silence_s, 1, 10**5),
        }
        if self.workers is not None:
            values["workers"] = number_problem(self.workers, 1, 100_000, whole=True)
        if self.address is not None and not self.address:
            values["address"] = "is empty"
        yield from prefixed("executor.", values, self)
