"""Know an error of MindSpore or CANN by its text; imports neither.

MindSpore raises `RuntimeError` for almost everything, so the text is all there is to go by.
"""

from __future__ import annotations

import re

from batchgen.errors import DeviceError, DeviceLost, DeviceOutOfMemory, ImageError

OUT_OF_MEMORY = (
    # Read in the libraries of MindSpore 2.7.1 (CPU and Ascend back ends).
    r"memory isn't enough and alloc failed",
    r"Malloc device memory failed, size\[",
    r"Out of Memory!!! Request memory size",
    r"Allocate device memory failed",
    r"rtMallocAlign32 to allocate device memory failed",
    # Recalled from CANN's acl error codes, not confirmed: allocation failed, out of memory.
    r"\b207001\b",
    r"\b207018\b",
)

LOST = (
    # Read in the libraries of MindSpore 2.7.1.
    r"UCEError",
    r"ForceStopError",
    r"ts lost heartbeat",
    # Read in reports of lost NPUs: CANN's own words, codes EL0001 and E39009.
    r"Device\[\d+\] lost heartbeat",
    r"reason=lost heartbeat",
    r"Device_Absent/Abnormal",
    r"Inner_Error_Device_Status_Abnormal",
    r"no valid device",
    # Read in CANN's acl headers: lost heartbeat, device setup error, device memory error,
    # HBM multi-bit ECC error, suspected device memory error. That none of them heals while the
    # process lives is our guess: no NPU was at hand to break.
    r"\b507010\b",
    r"\b507033\b",
    r"\b50705[345]\b",
)

ABSENT = (
    r"libge_runner\.so",
    r"libascendcl\.so",
    r"Unsupported device target",
    r"Cannot find tbe operator implementation",
    r"[Uu]nsupported device",
    r"device target .*Ascend",
)

WRONG_INDEX = (r"Set visible device failed", r"Device id exceeds the number of available devices")


def image_error(text: str) -> ImageError | None:
    """The error a batch's failure really is, or None for one that says nothing of the device.

    A lost device also fails to allocate, so that is looked for first.
    """
    if match := _found(LOST, text):
        return DeviceLost(
            f"The device is lost ({match!r}); no further batch can succeed in this process. "
            "Look at `npu-smi info`, then start the same command again."
        )
    if match := _found(OUT_OF_MEMORY, text):
        return DeviceOutOfMemory(f"The device has no room for this batch ({match!r}).")
    return None


def device_error(text: str, index: int) -> DeviceError:
    """What to tell a user whose NPU did not start, from the text of the failure."""
    if _found(WRONG_INDEX, text):
        return DeviceError(
            f"There is no NPU {index}: device.index counts inside ASCEND_RT_VISIBLE_DEVICES, "
            "from 0. Set device.index=0, or widen the mask."
        )
    if _found(ABSENT, text):
        return DeviceError(
            "There is no NPU to be used here: MindSpore finds no CANN libraries of its version. "
            "Source CANN's set_env.sh, or set device.kind=cpu for a small model."
        )
    if _found(OUT_OF_MEMORY, text):
        return DeviceError(
            f"NPU {index} has no free memory: another process holds it. See `npu-smi info`."
        )
    return DeviceError(f"NPU {index} did not start: {one_line(text)} See docs/ascend.md.")


def one_line(text: str) -> str:
    """The first line that says something; after it MindSpore puts dividers and C++ traces."""
    for line in text.splitlines():
        if line.strip() and not set(line.strip()) <= set("-= "):
            return line.strip()
    return "(no message)"


def _found(patterns: tuple[str, ...], text: str) -> str | None:
    for pattern in patterns:
        if match := re.search(pattern, text):
            return match[0]
    return None
