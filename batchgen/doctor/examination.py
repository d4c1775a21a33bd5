"""All checks of what a job's config needs of this machine, in the order of their causes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from batchgen.config.device import DeviceKind
from batchgen.config.job import JobConfig
from batchgen.doctor import cann, device_check, model_check, output_check, probe, software
from batchgen.doctor.check import Check, Outcome, failed, not_needed
from batchgen.errors import DeviceError
from batchgen.runner.device_choice import resolved_device


def examine(config: JobConfig) -> Iterator[Check]:
    """Yield the checks as they are made; takes seconds, on an NPU perhaps a minute.

    What is missing for Ascend is told on every machine; it is a failure only where the job asks
    for an NPU, or finds one with `device=auto`.
    """
    kind, refusal = _kind(config)
    yield from software.checks()
    answers = {kind: probe.ask(config.device, kind)}
    if kind is DeviceKind.ascend and answers[kind].fault:
        answers[DeviceKind.cpu] = probe.ask(config.device, DeviceKind.cpu)
    ascend = _ascend(config, answers[kind])
    yield from ascend if kind is DeviceKind.ascend else not_needed(ascend)
    told: dict[Check, None] = {}
    for probed, answer in answers.items():
        told.update(dict.fromkeys(device_check.probe_checks(answer, probed)))
    yield from told
    yield from refusal
    yield from model_check.checks(config.model, kind, config.sampling.scheduler)
    yield from output_check.checks(config)


def _kind(config: JobConfig) -> tuple[DeviceKind, list[Check]]:
    """Return the device the job would run on, and why it would not run there."""
    if config.device.kind is DeviceKind.ascend:
        return DeviceKind.ascend, []  # what is missing for it is told check by check
    try:
        return resolved_device(config), []
    except DeviceError as error:
        reason, _, cure = str(error).partition(". ")
        return DeviceKind.cpu, [failed("device", f"{reason}: `run` refuses that", cure)]


def _ascend(config: JobConfig, answer: probe.Answer) -> Iterator[Check]:
    accepted = answer.stages.get("mindspore", {}).get("accepted_cann", [])
    needed = model_check.weights_bytes(config.model)
    yield from device_check.npu_checks(device_check.npu_smi_output(), config.device, needed)
    yield from cann.checks(accepted)
    yield from device_check.mindspore_sees_npus(answer)


def has_failed(checks: Sequence[Check]) -> bool:
    """Whether a job with this config would not run here."""
    return any(check.outcome is Outcome.failed for check in checks)


def summary(checks: Sequence[Check]) -> str:
    """Return the last line: how many of each outcome."""
    counts = Counter(check.outcome for check in checks)
    return ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome)
