"""The one table of known faults: the texts that reveal each, its cause, its cure.

Read by `diagnosis` for the messages of `run`, by `doctor` for logs. Knows nothing of mindspore;
MindSpore raises `RuntimeError` for almost everything, so the text is all there is to go by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from batchgen.errors import BatchgenError, DeviceError, DeviceLost, DeviceOutOfMemory


@dataclass(frozen=True, slots=True)
class Symptom:
    """One fault and the texts that reveal it."""

    name: str
    """Short and stable, for scripts and for search."""
    patterns: tuple[str, ...]
    """Regular expressions, each for a part of one line. Each begins with characters that stand for
    themselves, which makes searching a log several times as fast."""
    cause: str
    """A sentence."""
    cure: str
    """What to do, as sentences with commands to paste."""
    error: type[BatchgenError] | None = None
    """The error that `run` raises for it; None for an ordinary failure."""
    beside: str | None = None
    """What else the log must contain, where the text alone is ambiguous."""
    is_consequence: bool = False
    """It follows from another error earlier in the log."""


_BEFORE_CODES = (
    "result = ", "ret[", "ret:", "ret=", "error_code=", "error code is ", "ErrCode=",
)  # fmt: skip


def _codes(*numbers: int) -> Iterator[str]:
    """Yield patterns of CANN's error numbers as its libraries write them.

    A bare number may be a seed.
    """
    for before in _BEFORE_CODES:
        yield rf"{re.escape(before)}(?:{'|'.join(map(str, numbers))})\b"


SYMPTOMS = (
    Symptom(
        "device-lost",
        (
            # Read in the libraries of MindSpore 2.7.1.
            r"UCEError(?: error occurs|:)",
            r"ForceStopError(?: error occurs|:)",
            r"ts lost heartbeat",
            # Read in reports of lost NPUs: CANN's own words, codes EL0001 and E39009.
            r"Device\[\d+\] lost heartbeat",
            r"reason=\[?lost heartbeat",
            r"Device_Absent/Abnormal",
            r"Inner_Error_Device_Status_Abnormal",
            r"reason=\[?no valid device",
            # Read in CANN's acl headers: lost heartbeat, device setup error, device memory error,
            # HBM multi-bit ECC error, suspected device memory error. That none of them recovers
            # within a process is an assumption: no NPU was available to test it.
            *_codes(507010, 507033, 507053, 507054, 507055),
        ),
        "The device is lost: it does not answer any more.",
        "Look at `npu-smi info`, then start the same command again.",
        DeviceLost,
    ),
    Symptom(
        "device-oom",
        (
            # Read in the libraries of MindSpore 2.7.1 (CPU and Ascend back ends).
            r"memory isn't enough and alloc failed",
            r"Memory not enough:",
            r"Allocate memory failed, maybe device memory",
            r"Malloc device memory failed, size\[",
            r"Out of Memory!!! Request memory size",
            r"Allocate device memory failed",
            r"rtMallocAlign32 to allocate device memory failed",
            # Read in reports: CANN's own words.
            r"Memory_Allocation_Failure\(EL0004\)",
            # Recalled from CANN's acl error codes, not confirmed: allocation failed, out of memory.
            *_codes(207001, 207018),
        ),
        "The device's memory is full, or another process holds it.",
        "See who holds it with `npu-smi info`; set a smaller batch_size= or size of the images.",
        DeviceOutOfMemory,
    ),
    Symptom(
        "device-index",
        (
            r"Set visible device failed",
            r"Device id exceeds the number of available devices",
            # Read in reports: CANN's own words for a mask it does not take, and code EE2002.
            r"set ASCEND_RT_VISIBLE_DEVICES:.{0,80} error, ",
            r"environment variable ASCEND_RT_VISIBLE_DEVICES is invalid",
            *_codes(107001),
        ),
        "No visible NPU has this number, or the mask is wrong: device.index counts inside "
        "ASCEND_RT_VISIBLE_DEVICES, from 0.",
        "Set device.index=0, or correct the mask: numbers that are there, ascending, each once.",
        DeviceError,
    ),
    Symptom(
        "cann-missing",
        (
            r"lib(?:ge_runner|ascendcl)\.so[^:]{0,20}: cannot open shared object file",
            r"Unsupported device target:? *'?Ascend",
            r"Cannot find (?:the )?tbe operator implementation",
            r"Can not find (?:the )?tbe operator implementation",
            r"Device Ascend not exist",
        ),
        "MindSpore finds no CANN libraries of its version, so there is no NPU to be used here.",
        "Source CANN's set_env.sh, `source /usr/local/Ascend/ascend-toolkit/set_env.sh`, or set "
        "device.kind=cpu for a small model; docs/ascend.md has the versions that fit.",
        DeviceError,
    ),
    Symptom(
        "device-busy",
        (
            # Read in reports: the driver's words where another container has the card.
            r"dcmi mod(?:ule|el) initializ\w+ failed.{0,40}ret is -80(?:05|20)",
            # CANN's error EJ0001.
            r"HCCP process.{0,80}last training process is running",
        ),
        "Another process or container has the NPU, or this container was not given it.",
        "See `npu-smi info` and `fuser -v /dev/davinci*`, stop what should not run any more, wait "
        "ten seconds and start again.",
        DeviceError,
    ),
    Symptom(
        "cpu-kernel-missing",
        (r"The kernel [A-Z]\w+ unregistered",),
        "MindSpore's CPU back end has no kernel for this operator; the installation is sound.",
        "batchgen puts kernels of its own in place for SDXL on a CPU: `batchgen run device=cpu`; "
        "other code needs an NPU, device=ascend.",
    ),
    Symptom(
        "mindspore-too-old",
        (
            r"cannot import name 'mint' from 'mindspore'",
            r"module 'mindspore' has no attribute 'mint'",
        ),
        "This MindSpore is older than the installed MindOne needs.",
        'pip install "mindspore>=2.7.1,<2.8"',
    ),
    Symptom(
        "python-too-old",
        (r"'type' object is not subscriptable",),
        "MindOne is run by Python 3.8 or older, which does not know list[int].",
        "Make an environment with Python 3.10, 3.11 or 3.12 and install batchgen there.",
        beside=r"[Pp]ython ?3\.[5-8]\b|mindone/",
    ),
    Symptom(
        "maskedfill-dtype",
        (r"For '?MaskedFill'?,.{0,60}dtype.{0,80}\bsame\b",),
        "A MindOne before 0.2 fills attention masks with a value of another type.",
        "pip install mindone==0.5.0; there is nothing to patch in it.",
    ),
    Symptom(
        "graph-threadpool",
        (r"Assertion .{0,80}kStackMask", r"EventCount\b.{0,80}Assertion"),
        "A thread pool was torn down after a graph compile that had failed, mostly for want of "
        "host memory; the first error above it is the cause.",
        "Use PyNative mode, as batchgen does, and fix the first error above it; see `free -g`.",
        is_consequence=True,
    ),
    Symptom(
        "kernel-restarted",
        (r"KernelRestarter: restarting kernel",),
        "The notebook's process died without a message, mostly killed for want of host memory.",
        "See `dmesg | grep -i 'killed process'` and `free -g`; `batchgen run` in a terminal keeps "
        "a log and resumes where it stopped.",
        beside=r"mindone|mindspore",
        is_consequence=True,
    ),
    Symptom(
        "hccl",
        (
            r"HCCL(?!_[A-Z_]+=)\w*\b.{0,120}\b(?:[Ff]ail(?:ed|ure)?|[Ee]rror)\b",
            r"Hccl\w*\b.{0,120}\b(?:[Ff]ail(?:ed|ure)?|[Ee]rror)\b",
            r"EI00(?:0[1-9]|1\d)\b",
        ),
        "Communication between NPUs failed, mostly because one side had failed before; "
        "batchgen itself uses none.",
        "Look for the first error of each process; on one NPU set no RANK_TABLE_FILE.",
        is_consequence=True,
    ),
    Symptom(
        "black-picture",
        (
            # batchgen's own words, and numpy's where diffusers turns NaN into bytes.
            r"the VAE gave NaN or infinity",
            r"BlankImage: it is all black",
            r"row \d+ failed: it is all black",
            r"image_processor\.py:\d+: RuntimeWarning: invalid value",
            r"pipeline_utils\.py:\d+: RuntimeWarning: invalid value",
        ),
        "Numbers overflowed, mostly in a VAE, or its attention, that computes in float16.",
        "Set model.vae_dtype=float32, and where that is so already model.dtype=bfloat16.",
    ),
    Symptom(
        "variant-missing",
        (r"You are trying to load the model files of the .?variant=.{0,40}, but no such",),
        "The weight files in the folder are not of the variant asked for.",
        "Fetch them with `batchgen download`, or set model.variant=null for files without a "
        "suffix.",
    ),
    Symptom(
        "model-files-missing",
        (r"Error no file named \S+\.(?:bin|safetensors)\b", r"; the model is incomplete\."),
        "A file of the model is not there; a .bin may be named although none is wanted.",
        "Fetch the model with `batchgen download`, or set model.path and model.variant to what is "
        "there.",
    ),
    Symptom(
        "lfs-pointer",
        (
            r"You seem to have cloned a repository without having git-lfs",
            r"is a pointer of git-lfs, not the file itself",
        ),
        "The model folder was cloned without git-lfs: its weight files are pointers.",
        "Fetch the model with `batchgen download`, or run `git lfs pull` in its folder.",
    ),
    Symptom(
        "weights-damaged",
        (
            r"Unable to load weights from checkpoint file",
            r"Error while deserializing header",
            r": it is cut off or damaged\.",
        ),
        "A weight file is cut short or is not a safetensors file.",
        "Remove the file it names and fetch it again: `batchgen download`.",
    ),
    Symptom(
        "weights-random",
        (r"Some weights of .{1,300}newly initialized", r"would be (?:drawn|initialised) at random"),
        "The files lack tensors of the model, and random numbers took their place.",
        "Fetch the files again, `batchgen download`; discard the images made with them.",
    ),
    Symptom(
        "old-keywords",
        (r"Keyword arguments \{.{0,200}'(?:from_pt|torch_dtype)'.{0,200}\} are not expected",),
        "This code was written for an older MindOne: the argument is ignored.",
        "Leave from_pt out and use mindspore_dtype for torch_dtype, or run `batchgen run`.",
    ),
    Symptom(
        "tokenizer-missing",
        (r"Can't load tokenizer for",),
        "The tokenizer is not in the folder, and no hub can be reached.",
        "Fetch the whole model with `batchgen download` and set model.path to its folder.",
    ),
    Symptom(
        "numpy-2",
        (
            r"compiled using NumPy 1\.x cannot be run in",
            r"_ARRAY_API not found",
            r"was removed in the NumPy 2\.0 release",
            r"numpy\.core\.multiarray failed to import",
        ),
        "numpy 2 is installed; MindSpore was built for numpy 1.",
        'pip install "numpy>=1.26,<2"',
    ),
    Symptom(
        "wheel-platform",
        (
            r"mindspore-\S+\.whl is not a supported wheel on this platform",
            r"No module named 'mindspore\._c_expression'",
        ),
        "This MindSpore wheel is for another platform or Python; the none-any wheel is for Linux "
        "on aarch64.",
        "`pip install mindspore==2.7.1` chooses the right one from PyPI; see `uname -m` and "
        "`python --version`.",
    ),
    Symptom(
        "disk-full",
        (r"No space left on device", r"Disk quota exceeded"),
        "The disk or the quota is full.",
        "Make room, see `df -h`, and start the same command again: what is committed is safe.",
    ),
    Symptom(
        "no-locks",
        (r"\[Errno 37\] No locks available", r"\[Errno 38\] Function not implemented"),
        "The file system has no locks.",
        "Put outputs and caches on another file system: output_root=, MODELSCOPE_CACHE, HF_HOME.",
        beside=r"flock|filelock|\.lock\b",
    ),
)
"""Where several are found in one error, the first counts: a lost device allocates nothing either,
and a device that is full fails to communicate."""
