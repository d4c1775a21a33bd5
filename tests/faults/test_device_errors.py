"""Errors of MindSpore and CANN, known by their exact texts."""

import pytest

from batchgen.errors import DeviceLost, DeviceOutOfMemory
from batchgen.faults.device_errors import device_error, image_error

OUT_OF_MEMORY = [
    "Memory not enough: Device(id:0) memory isn't enough and alloc failed, kernel name: Conv2D",
    "Malloc device memory failed, size[17179869184], ret[207001], Device 0",
    "Out of Memory!!! Request memory size: 5368709120B, Memory Statistic:",
    "Allocate device memory failed, alloc size:1073741824B",
    "Allocate device memory failed!",
]

LOST = [
    "Device[1] lost heartbeat.[FUNC:SyncTask]",
    "rtDeviceSynchronizeWithTimeout execution failed, reason=lost heartbeat",
    "wait for compute device to finish failed, runtime result = 507010.",
    "open device 2 failed, runtime result = 507033.",
    "ts lost heartbeat",
    "UCEError error occurs when execute, error_code=507053",
    "ForceStopError error occurs when execute",
    "Device_Absent/Abnormal(EL0001): Device not found or invalid.",
    "Inner_Error_Device_Status_Abnormal(E39009): Failed to connect the device.",
]


@pytest.mark.parametrize("text", OUT_OF_MEMORY)
def test_full_memory_is_known(text: str) -> None:
    """Each text that MindSpore has for it climbs the ladder."""
    assert isinstance(image_error(text), DeviceOutOfMemory)


@pytest.mark.parametrize("text", LOST)
def test_lost_device_is_known(text: str) -> None:
    """Each text of a lost NPU opens the circuit."""
    assert isinstance(image_error(text), DeviceLost)


def test_lost_device_wins_over_full_memory() -> None:
    """A lost device allocates nothing either; the cause is named, not the effect."""
    assert isinstance(image_error(f"{OUT_OF_MEMORY[1]}\n{LOST[0]}"), DeviceLost)


def test_message_names_the_symptom() -> None:
    """The words that gave it away stand in the message."""
    assert "lost heartbeat" in str(image_error(LOST[0]))
    assert "alloc failed" in str(image_error(OUT_OF_MEMORY[0]))


@pytest.mark.parametrize(
    "text",
    [
        "For 'Gather', the 'input_indices' should be in the range [0, 2), but got 7",
        "The kernel GeluExt unregistered.",
        "ops of size 1507010",
        "",
    ],
)
def test_other_failures_stay_what_they_are(text: str) -> None:
    """A bad operator or a number that looks like a code says nothing of the device."""
    assert image_error(text) is None


def test_missing_npu_names_the_cure() -> None:
    """A machine without CANN hears of set_env.sh and of the CPU."""
    text = (
        "Unsupported device target Ascend. This process only supports one of the ['CPU'].\n"
        "Load dynamic library: libmindspore_ascend.so.2 failed. libge_runner.so: cannot open"
    )
    message = str(device_error(text, 0))
    assert "set_env.sh" in message
    assert "device.kind=cpu" in message
    assert "\n" not in message


def test_wrong_index_is_named() -> None:
    """An index outside the mask is the user's to correct."""
    message = str(device_error("Set visible device failed, invalid device=9", 9))
    assert "NPU 9" in message
    assert "ASCEND_RT_VISIBLE_DEVICES" in message


def test_npu_held_by_another_process_is_named() -> None:
    """Full memory at the start is somebody else's."""
    assert "another process" in str(device_error(OUT_OF_MEMORY[1], 3))


def test_unknown_failure_keeps_its_first_line() -> None:
    """What nobody foresaw is shown, without MindSpore's dividers and C++ trace."""
    text = "\n----------\n- Something odd\n----------\nC++ trace"
    assert "Something odd" in str(device_error(text, 0))
