"""A shard: every n-th batch of a job, made by a process that knows of no other.

Slurm counts the tasks of an array in SLURM_ARRAY_TASK_ID, Kubernetes those of an indexed job in
JOB_COMPLETION_INDEX.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_FORM = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)
_AUTO = re.compile(r"auto(?:/(\d{1,6}))?", re.ASCII)
_FOLDER = re.compile(r"shard-(\d{2,})-of-(\d{2,})", re.ASCII)
_INDEXES = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")
_ARRAY = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several shards."""

    index: int
    """From 0."""
    count: int

    @property
    def folder_name(self) -> str:
        """Name of its folder in that of the job, `shard-03-of-16`."""
        width = max(2, len(str(self.count)))
        return f"shard-{self.index:0{width}d}-of-{self.count:0{width}d}"

    def __str__(self) -> str:
        """Return it as the setting has it."""
        return f"{self.index}/{self.count}"


def parsed(text: str | None) -> Shard | None:
    """Return the shard of `3/16`; None for anything else."""
    found = _FORM.fullmatch(text or "")
    return Shard(int(found[1]), int(found[2])) if found else None


def of_folder(name: str) -> Shard | None:
    """Return the shard whose folder has this name, or None."""
    found = _FOLDER.fullmatch(name)
    shard = Shard(int(found[1]), int(found[2])) if found else None
    return shard if shard is not None and shard.folder_name == name else None


def resolved(text: str, environ: Mapping[str, str]) -> str:
    """Return `auto/16` or `auto` as index and count, where the scheduler's variables say them."""
    found = _AUTO.fullmatch(text)
    index = next((environ[name] for name in _INDEXES if environ.get(name, "").isdecimal()), None)
    if found is None or index is None:
        return text
    count = found[1] or (environ[f"{_ARRAY}COUNT"] if _is_whole_array(environ) else None)
    return text if count is None else f"{int(index)}/{int(count)}"


def problem(text: str) -> str | None:
    """Say what is wrong with a shard that `resolved` left as it is, or return None."""
    auto = _AUTO.fullmatch(text)
    if auto is not None and auto[1]:
        return f"finds neither {_INDEXES[0]} nor {_INDEXES[1]}; say which one, as 3/{auto[1]}"
    if auto is not None:
        return (
            "needs a Slurm array of all indexes from 0 on in steps of 1; say auto/16, and submit "
            "with --array=0-15"
        )
    shard = parsed(text)
    if shard is None or shard.count < 1:
        return "is not a shard such as 3/16, auto/16 or auto"
    if shard.index >= shard.count:
        return f"is counted from 0: the last of {shard.count} is {shard.count - 1}/{shard.count}"
    return None


def _is_whole_array(environ: Mapping[str, str]) -> bool:
    """Whether a Slurm array has all indexes from 0 on; its count is of what was submitted."""
    texts = {key: environ.get(f"{_ARRAY}{key}", "") for key in ("MIN", "MAX", "STEP", "COUNT")}
    if not all(text.isdecimal() for text in texts.values()):
        return False
    low, high, step, count = (int(text) for text in texts.values())
    return (low, step, high) == (0, 1, count - 1)
