"""The batchgen error for a failure of MindSpore, from its text; imports no mindspore."""

from __future__ import annotations

from batchgen.errors import DeviceError, DeviceLost, DeviceOutOfMemory, ImageError
from batchgen.faults.diagnosis import found, one_line


def image_error(text: str) -> ImageError | None:
    """Return the device error behind a batch's failure, None where its text names none."""
    for symptom, words in found(text):
        if symptom.error is DeviceLost:
            return DeviceLost(
                f"The device is lost ({words!r}); no further batch can succeed in this process. "
                f"{symptom.cure}"
            )
        if symptom.error is DeviceOutOfMemory:
            return DeviceOutOfMemory(
                f"The device has no room for this batch ({words!r}). {symptom.cure}"
            )
    return None


def device_error(text: str, index: int) -> DeviceError:
    """Return the error for an NPU that did not start, from the text of the failure."""
    for symptom, _ in found(text):
        if symptom.error is not None:
            return DeviceError(f"NPU {index} did not start. {symptom.cause} {symptom.cure}")
    return DeviceError(f"NPU {index} did not start: {one_line(text)} See docs/ascend.md.")
