"""Forks a process for each command line, with batchgen imported and the shim loaded before.

A script: reads requests from standard input, answers each on standard output, a line of JSON each.
Started with LD_PRELOAD, so that every child has the shim; a child is armed as the request says.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from injection import Mode
from PIL import Image as PillowImage

from batchgen.cli.compose import Composer
from batchgen.cli.main import main
from batchgen.config.job import JobConfig
from batchgen.runner import progress

_LIMIT_S = 60
"""A command that takes longer hangs: SIGALRM ends it."""
_HEARTBEAT_S = 0.01
"""Where syncs are slow: the heartbeat comes into the other writes of a job that lasts a second."""
_USED = (
    "pandas", "pyarrow.compute", "pyarrow.pandas_compat", "pyarrow.parquet", "multiprocessing.util",
    *(f"batchgen.cli.{name}" for name in ("run", "verify")), "batchgen.pipelines.fake",
    "importlib.resources.readers",
)  # fmt: skip
"""What commands import while they run."""


def _compose_each_job_once() -> None:
    """Let a child find the job that the server has composed: that takes half of a small start."""
    compose, known = Composer.job, dict[tuple[str, ...], JobConfig]()

    def job(composer: Composer, arguments: Sequence[str]) -> JobConfig:
        if tuple(arguments) not in known:
            known[tuple(arguments)] = compose(composer, arguments)
        return known[tuple(arguments)]

    Composer.job = job  # type: ignore[method-assign, assignment]


def _be_the_command(shim: ctypes.CDLL, request: dict[str, Any]) -> None:
    """Be one command line, under the fault that is asked for."""
    signal.alarm(_LIMIT_S)
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)
    os.chdir(request["folder"])
    if request["fault"] is not None:
        mode, number, error, root, log = request["fault"]
        if mode == Mode.slow:
            progress.HEARTBEAT_S = _HEARTBEAT_S
        shim.shim_arm(mode, ctypes.c_long(number), error, os.fsencode(root), os.fsencode(log))
    try:
        code = main(request["arguments"])
        sys.stdout.flush()
        os._exit(code)
    except SystemExit as leaving:
        os._exit(int(leaving.code or 0))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def serve() -> None:
    """Answer requests until standard input ends."""
    for name in _USED:
        importlib.import_module(name)
    PillowImage.init()
    _compose_each_job_once()
    gc.collect()
    gc.freeze()
    shim = ctypes.CDLL(os.environ.pop("LD_PRELOAD"))
    for line in sys.stdin:
        request = json.loads(line)
        command, *arguments = request["arguments"]
        if command == "run":
            Composer().job(arguments)
        child = os.fork()
        if child == 0:
            _be_the_command(shim, request)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps(os.waitstatus_to_exitcode(status)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
