"""What may crash or hang, in a process of its own: MindSpore, a device, MindOne.

Run as a module it takes the stages one by one and prints a line for each that it has passed; the
caller knows by the last line where it died.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.doctor.bounded import ended
from batchgen.faults.diagnosis import found, one_line

TIMEOUT_S = 300.0
"""A first operator on an NPU compiles for tens of seconds; MindSpore may crawl on a busy CPU."""

_MARK = "batchgen-probe "


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe could say before it ended."""

    stages: dict[str, Any]
    """What each stage that was passed reported, in order."""
    fault: str = ""
    """What ended it early, in one line; empty where it came to its end."""
    cure: str = ""


def ask(device: DeviceConfig, kind: DeviceKind) -> Answer:
    """Compute on a device as a job would: stages `mindspore`, `tensor`, `mindone`."""
    cap = [] if device.max_memory is None else [device.max_memory]
    command = (sys.executable, "-m", __name__, kind.value, str(device.index), *cap)
    return answer(command, TIMEOUT_S)


def answer(command: Sequence[str], timeout_s: float) -> Answer:
    """Run a process that prints stages, and say how it ended."""
    environment = {"GLOG_v": "3", **os.environ}  # MindSpore's errors, not its advice
    end = ended(command, timeout_s, environment)
    late = f"it did not answer within {timeout_s:g} s"
    return _answer(end.printed, end.said, late if end.code is None else _ending(end.code))


def _ending(code: int) -> str:
    if code >= 0:
        return "" if code == 0 else f"it ended with exit code {code}"
    names = {one.value: one.name for one in signal.Signals}
    return f"it died of {names.get(-code, f'signal {-code}')}"


def _answer(printed: str, said: str, ending: str) -> Answer:
    records = list(_records(printed))
    stages = {record["stage"]: record["found"] for record in records if "found" in record}
    error = next((record["error"] for record in records if "error" in record), "")
    if not error and not ending:
        return Answer(stages)
    how = one_line(error) if error else ending
    for symptom, _ in found(f"{error}\n{said}"):
        return Answer(stages, symptom.cause if error else f"{how}: {symptom.cause}", symptom.cure)
    return Answer(stages, how)


def _records(printed: str) -> Iterator[dict[str, Any]]:
    """Yield what the stages said; a line that death cut off is none."""
    for line in printed.splitlines():
        before, mark, text = line.partition(_MARK)
        if mark and not before:
            with suppress(ValueError):
                yield json.loads(text)


def _mindspore() -> dict[str, Any]:
    from batchgen.pipelines.mindspore.machine import imported

    ms = imported()
    ascend = ms.device_context.ascend
    is_available = bool(ascend.is_available())
    # The versions MindSpore itself compares CANN's with; private, and so perhaps not there.
    versions = sys.modules.get("mindspore.run_check._check_version")
    checker = getattr(versions, "AscendEnvChecker", None)
    return {
        "version": ms.__version__,
        "n_npus": int(ascend.device_count()) if is_available else 0,
        "accepted_cann": list(checker(None).version) if checker else [],
    }


def _tensor(device: DeviceConfig, kind: DeviceKind) -> dict[str, Any]:
    from batchgen.pipelines.mindspore.machine import Machine

    machine = Machine(device, kind)
    ms = machine.ms
    started = time.perf_counter()
    dtype = ms.float16 if machine.is_ascend else ms.float32
    ones = ms.mint.ones((256, 256), dtype=dtype)
    total = float(ms.mint.matmul(ones, ones).asnumpy().astype("float64").sum())
    machine.synchronize()
    if total != 256.0**3:
        raise ArithmeticError(f"a product of ones sums up to {total:g}, not to {256.0**3:g}")
    return {"seconds": round(time.perf_counter() - started, 3), "dtype": str(dtype)}


def _mindone() -> dict[str, Any]:
    from batchgen.pipelines.mindspore.loading import import_mindone

    import_mindone()
    return {}


def _say(record: dict[str, Any]) -> None:
    sys.stdout.write(f"\n{_MARK}{json.dumps(record)}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Take the stages; the exit code is 1 after the first that raises."""
    kind = DeviceKind(arguments[0])
    cap = arguments[2] if len(arguments) > 2 else None
    device = DeviceConfig(kind=kind, index=int(arguments[1]), max_memory=cap)
    stages: dict[str, Callable[[], dict[str, Any]]] = {
        "mindspore": _mindspore,
        "tensor": lambda: _tensor(device, kind),
        "mindone": _mindone,
    }
    for name, stage in stages.items():
        try:
            _say({"stage": name, "found": stage()})
        except Exception as error:
            root = error.__cause__ or error  # as MindSpore says it: its words are known
            _say({"stage": name, "error": f"{type(root).__name__}: {root}"})
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
