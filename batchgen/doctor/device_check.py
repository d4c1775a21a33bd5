"""NPUs as the driver reports them, the processes that use them, whether a device computes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from batchgen.config.counts import counted
from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.doctor import cann, npu_smi
from batchgen.doctor.bounded import ended
from batchgen.doctor.check import Check, failed, ok, warning
from batchgen.doctor.npu_smi import HEALTHY, Chip, NpuTable
from batchgen.doctor.probe import Answer
from batchgen.doctor.software import reinstall
from batchgen.faults.diagnosis import found, one_line

MASK = "ASCEND_RT_VISIBLE_DEVICES"

_TIMEOUT_S = 30.0
_DOCKER = (
    "--device=/dev/davinci0 --device=/dev/davinci_manager --device=/dev/devmm_svm "
    "--device=/dev/hisi_hdc -v /usr/local/Ascend/driver:/usr/local/Ascend/driver "
    "-v /usr/local/dcmi:/usr/local/dcmi -v /usr/local/bin/npu-smi:/usr/local/bin/npu-smi"
)


def npu_smi_output() -> str | None:
    """Return what `npu-smi info` prints, errors too; None where there is no such command."""
    command = shutil.which("npu-smi")
    if command is None:
        return None
    try:
        end = ended([command, "info"], _TIMEOUT_S)
    except OSError as error:
        return f"{command} cannot be run: {error.strerror}"
    if end.code is None:
        return f"npu-smi did not answer within {_TIMEOUT_S:g} s"
    return end.printed + end.said


def npu_checks(
    output: str | None, device: DeviceConfig, needed_bytes: int, dev: Path = Path("/dev")
) -> Iterator[Check]:
    """Yield what the driver says.

    Args:
        output: What `npu-smi info` printed; None where there is no such command.
        device: The NPU that the job asks for.
        needed_bytes: What the model's weights take on it.
        dev: Where the kernel shows NPUs.
    """
    table = npu_smi.parse(output or "")
    yield _driver(output, table, sorted(path.name for path in dev.glob("davinci[0-9]*")))
    n_chips = len(table.chips)
    mask = os.environ.get(MASK)
    numbers = [*range(n_chips)] if mask is None else _numbers(mask)
    if mask is not None:
        yield _mask(mask, numbers, n_chips)
    visible = [table.chips[number] for number in numbers if number < n_chips]
    if not visible:
        return
    if device.index >= len(visible):
        last = len(visible) - 1
        finding = f"device.index={device.index}, and the last visible NPU is {last}, from 0"
        yield failed("npu", finding, "device.index=0")
        return
    chip = visible[device.index]
    yield _health(chip, [other for other in table.chips if other is not chip])
    yield _memory(chip, needed_bytes)


def _driver(output: str | None, table: NpuTable, nodes: list[str]) -> Check:
    if table.chips:
        return ok("driver", f"{table.driver}, NPUs: {len(table.chips)}")
    if output is None:
        version = cann.driver_version()
        there = f"driver {version} is installed" if version else "no driver is installed"
        devices = f"{counted(len(nodes), 'NPU')} in /dev" if nodes else "no /dev/davinci*"
        finding = f"there is no npu-smi; {there}, {devices}"
        cure = f"install the driver, or start the container with docker run {_DOCKER} IMAGE"
        return failed("driver", finding, cure)
    for symptom, _ in found(output):
        return failed("driver", f"npu-smi fails: {symptom.cause}", symptom.cure)
    finding = f"npu-smi lists no NPU: {one_line(output)}"
    return failed("driver", finding, "npu-smi info; ls -l /dev/davinci*; dmesg | grep -i davinci")


def _mask(mask: str, numbers: list[int], n_chips: int) -> Check:
    name = "visible devices"
    if not numbers:
        finding = f"{MASK}={mask!r} is not a list of ascending numbers such as 0,1"
        return failed(name, finding, f"unset {MASK}")
    if n_chips and max(numbers) >= n_chips:
        finding = f"{MASK}={mask} names an NPU that is not there; {n_chips} are, from 0"
        return failed(name, finding, f"export {MASK}=0")
    return ok(name, f"{MASK}={mask}; device.index counts inside it, from 0")


def _numbers(mask: str) -> list[int]:
    """Return the numbers of the NPUs a program sees; none where the mask is nonsense."""
    parts = [part.strip() for part in mask.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        return []
    numbers = [int(part) for part in parts]
    return numbers if numbers == sorted({*numbers}) else []


def _health(chip: Chip, others: list[Chip]) -> Check:
    cure = f"npu-smi info -t health -i {chip.card}; if it stays so, another device.index="
    if chip.health != HEALTHY:
        return failed("npu", f"{_name(chip)} is in state {chip.health}, not {HEALTHY}", cure)
    odd = [f"{_name(other)} is in state {other.health}" for other in others]
    odd = [text for text, other in zip(odd, others, strict=True) if other.health != HEALTHY]
    if odd:
        finding = f"{_name(chip)} is well, but {'; '.join(odd)}"
        return warning("npu", finding, "npu-smi info -t health -i N, for each of them")
    return ok("npu", f"{_name(chip)} is well")


def _memory(chip: Chip, needed_bytes: int) -> Check:
    finding = f"{chip.free_mb:,} of {chip.total_mb:,} MB free on {_name(chip)}"
    holders = [f"{f'{p.pid} {p.name}'.strip()} ({p.memory_mb:,} MB)" for p in chip.processes]
    if holders:
        finding += f"; held by process {', '.join(holders)}"
    pids = ",".join(str(process.pid) for process in chip.processes)
    cure = f"ps -o pid,user,etime,args -p {pids}" if pids else "npu-smi info"
    if chip.free_mb * 2**20 < needed_bytes:
        finding += f"; the weights alone take {needed_bytes / 2**20:,.0f} MB"
        return failed("npu memory", finding, f"{cure}; stop it, or choose another device.index=")
    return warning("npu memory", finding, cure) if holders else ok("npu memory", finding)


def _name(chip: Chip) -> str:
    number = f" chip {chip.number}" if chip.number else ""
    return f"NPU {chip.card}{number} ({chip.name})"


def mindspore_sees_npus(answer: Answer) -> Iterator[Check]:
    """Yield what `mindspore.device_context.ascend` says, where mindspore could be imported."""
    if "mindspore" not in answer.stages:
        return
    n_npus = answer.stages["mindspore"]["n_npus"]
    if n_npus:
        yield ok("mindspore npus", f"MindSpore sees {n_npus}")
    else:
        finding = "MindSpore's Ascend back end does not load: no CANN, or of another version"
        cure = "python -c 'import mindspore; mindspore.device_context.ascend.is_available()'"
        yield failed("mindspore npus", finding, f"{cure} says which library it lacks")


def probe_checks(answer: Answer, kind: DeviceKind) -> Iterator[Check]:
    """Yield a check for each stage of a probe, up to the one where it ended."""
    device = "NPU" if kind is DeviceKind.ascend else "CPU"
    titles = {
        "mindspore": ("mindspore import", reinstall("mindspore")),
        "tensor": (f"{device} tensor", "batchgen doctor device=cpu; docs/ascend.md"),
        "mindone": ("mindone import", reinstall("mindone")),
    }
    for stage, (name, cure) in titles.items():
        if stage not in answer.stages:
            yield failed(name, answer.fault or "it ended without a message", answer.cure or cure)
            return
        yield ok(name, _found(stage, answer, device))


def _found(stage: str, answer: Answer, device: str) -> str:
    if stage == "tensor":
        there = answer.stages[stage]
        return f"the {device} multiplied matrices in {there['dtype']}, {there['seconds']:.2f} s"
    return "works"
