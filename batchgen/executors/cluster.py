"""A Ray cluster: started on this host or joined, and what it has."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from batchgen.config.device import DeviceKind
from batchgen.config.workers import ExecutorConfig
from batchgen.errors import ConfigError, DeviceError
from batchgen.runner.identity import Job
from batchgen.runner.stopping import SIGNALS

START_S = 180.0
"""How long hosts and workers that are asked for are waited for."""

_STORE_BYTES = 80 * 2**20
"""Ray's store of objects: reports are small, and pictures go from the worker to the disk."""


def connect(config: ExecutorConfig) -> None:
    """Start a cluster on this host, or join one. Raises `ConfigError`."""
    options: dict[str, Any] = {"address": config.address}
    if config.address is None:
        n_cores = os.cpu_count() or 1
        n_asked = config.workers or 1
        options = {
            "num_cpus": max(n_cores, math.ceil(n_asked * config.cpus_per_worker)),
            "object_store_memory": _STORE_BYTES,
            "include_dashboard": False,
        }
        os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")  # it kills what uses memory
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with _own_signals():
            ray.init(**options, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"executor.address={config.address}" if config.address else "Ray"
        raise ConfigError([f"{where} does not start: {error}"]) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handlers of this process: Ray takes SIGTERM for itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def n_workers(config: ExecutorConfig, job: Job) -> int:
    """Return how many workers there are to be. Raises `DeviceError` where that cannot be known."""
    if job.device is not DeviceKind.ascend:
        if config.workers is None:
            raise DeviceError(
                "executor=ray has no NPU here to count. Say how many workers the CPU is to have, "
                "executor.workers=2."
            )
        return config.workers
    n_npus, end = 0, time.monotonic() + (START_S if config.address is not None else 0)
    while n_npus < (config.workers or 1):
        n_npus = int(ray.cluster_resources().get("NPU", 0))
        if time.monotonic() >= end:
            break
        time.sleep(1)
    if not n_npus or (config.workers or 0) > n_npus:
        raise DeviceError(
            f"executor.workers={config.workers} and device=ascend, and the cluster has {n_npus} "
            "NPUs: `ray status` lists them."
        )
    return config.workers or n_npus


def resources() -> str:
    """Return what the cluster has, in words."""
    parts = [
        f"{name} {amount:g}"
        for name, amount in sorted(ray.cluster_resources().items())
        if name in ("CPU", "NPU")
    ]
    return ", ".join(parts)
