"""The errors that batchgen raises on purpose, and the exit code of each.

    BatchgenError
    ├── Refused                 2: nothing was started, nothing was changed
    │   ├── ConfigError         a key, a type, a range; lists every problem at once
    │   ├── TableError          the prompt table, with row, column and value
    │   ├── FolderError         the job's folder cannot be used as asked
    │   │   ├── JobInUse        another process is using it
    │   │   └── JobChanged      what is in it was made with other settings
    │   ├── ModelError          model files missing, incomplete or unsafe
    │   │   ├── ModelMissing    none of them is on this machine yet
    │   │   └── OtherModel      of a noise schedule that batchgen cannot draw with
    │   └── DeviceError         the device does not exist, or is too small for the model
    ├── ImagesDamaged           3: image files are missing, or have other bytes than written
    ├── CircuitOpen             4: too many failures in a row, or the device is lost
    ├── Stopped                 75: ended early, the same command resumes
    │   ├── TableChanged        the table was edited while the job read it
    │   ├── StorageError        disk full, quota, read-only, I/O error
    │   └── DeviceHung          a batch ran past `timeout.batch_s`
    └── ImageError              one image or batch; the job goes on
        ├── DeviceOutOfMemory   climbs the memory ladder
        ├── DeviceLost          opens the circuit at once
        ├── BlankImage          black, constant or NaN pixels
        └── ProcessDied         the process died while it made this image alone

Anything else that escapes is a bug and is shown with its traceback.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ends."""

    done = 0
    """Everything is done and nothing is wrong."""
    bug = 1
    """A traceback: batchgen is at fault."""
    refused = 2
    """Nothing was started: config, table, folder, model or device cannot be used."""
    not_all_well = 3
    """The work is done, and some images failed, or something wrong was found."""
    broken = 4
    """Too many failures in a row, or the device is lost."""
    stopped = 75
    """Ended early, and the same command resumes; sysexits.h calls it EX_TEMPFAIL."""


class BatchgenError(Exception):
    """Base of all errors that batchgen raises on purpose; the message is written for the user."""

    exit_code = ExitCode.bug


class Refused(BatchgenError):
    """The request cannot be carried out; nothing was started and nothing was changed."""

    exit_code = ExitCode.refused


class ConfigError(Refused):
    """One or more settings are wrong; `problems` holds a sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class TableError(Refused):
    """The prompt table cannot be read as it stands; names row, column and value."""


class FolderError(Refused):
    """The job's folder cannot be used as asked."""


class JobInUse(FolderError):
    """Another process is using the folder; names its host, process and age."""


class JobChanged(FolderError):
    """The folder holds images made with other settings; the message is the difference."""


class ModelError(Refused):
    """Model files are missing, incomplete or in a format that is not safe to load."""


class ModelMissing(ModelError):
    """The model is not on this machine yet; names where it was looked for."""


class OtherModel(ModelError):
    """The model is whole, and of a noise schedule that batchgen cannot draw with."""


class DeviceError(Refused):
    """The requested device does not exist, or is too small for the model."""


class ImagesDamaged(BatchgenError):
    """Image files are missing or have other bytes than were written; `damaged` names each."""

    exit_code = ExitCode.not_all_well

    def __init__(self, damaged: list[str]) -> None:
        self.damaged = damaged
        last = (
            f"Damaged or missing: {len(damaged):,}. Nothing was exported. batchgen verify --repair "
            "and then a start of the job make them again."
        )
        super().__init__("\n".join([*damaged, last]))


class CircuitOpen(BatchgenError):
    """Too many rows failed in a row, or the device was lost."""

    exit_code = ExitCode.broken


class Stopped(BatchgenError):
    """The job ended early with all its commits kept; the same command resumes it."""

    exit_code = ExitCode.stopped


class TableChanged(Stopped):
    """The table was edited while the job was reading it."""


class StorageError(Stopped):
    """The folder cannot be written: disk full, quota, read-only or an I/O error."""


class DeviceHung(Stopped):
    """A batch ran past `timeout.batch_s`; only the end of the process frees the device."""


class ImageError(BatchgenError):
    """An image or its batch could not be made; the job records it and goes on."""


class DeviceOutOfMemory(ImageError):
    """The device had no room for the batch."""


class DeviceLost(ImageError):
    """The device does not answer any more; no further batch can succeed."""


class BlankImage(ImageError):
    """The picture is black, of one colour, or was not finite before rounding."""


class ProcessDied(ImageError):
    """The process died on this image while it was made alone."""
