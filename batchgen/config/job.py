"""The settings of a job as plain dataclasses, each validated by the class that owns the field.

Knows nothing of Hydra, of tables' contents or of models. A default stands here and nowhere else.
Validation reports everything at once: every class has `problems()`, and `JobConfig.validated()`
raises one `ConfigError` with all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from os import PathLike
from pathlib import Path
from typing import Any

from batchgen.config import lora, seeds, shard
from batchgen.config.device import DeviceConfig
from batchgen.config.identity_marks import OF_JOB, OF_POINT
from batchgen.config.models import AdapterConfig, ModelConfig, SdxlModel
from batchgen.config.paths import expanded, table_name
from batchgen.config.reading import ReadingConfig
from batchgen.config.sampling import SamplingConfig
from batchgen.config.settings import IMAGES_PER_PROMPT, SETTINGS
from batchgen.config.shard import Shard
from batchgen.config.structure import structured
from batchgen.config.validation import number_problem, prefixed
from batchgen.config.workers import ExecutorConfig, ExecutorKind
from batchgen.errors import ConfigError


class ImageFormat(str, Enum):
    """The file format of the images; the value is also the file suffix."""

    png = "png"
    jpeg = "jpg"
    webp = "webp"


class OnChange(str, Enum):
    """What to do with finished images whose settings are not the ones asked for now."""

    refuse = "refuse"
    redo = "redo"
    keep = "keep"


class OnMissing(str, Enum):
    """What to do with finished images whose files are gone from images/."""

    redo = "redo"
    drop = "drop"
    refuse = "refuse"
    trust = "trust"


class OnRemoved(str, Enum):
    """What to do with finished images whose row is no longer in the table."""

    keep = "keep"
    drop = "drop"


@dataclass(kw_only=True)
class ImagesConfig:
    """The files the pictures are written to."""

    format: ImageFormat = ImageFormat.png
    compress_level: int = 1
    """PNG only: 0 (none) to 9 (slow)."""
    quality: int = 95
    """JPEG and lossy WebP only: 1 to 100."""
    lossless: bool = True
    """WebP only."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each field that is out of range."""
        values = {
            "compress_level": number_problem(self.compress_level, 0, 9, whole=True),
            "quality": number_problem(self.quality, 1, 100, whole=True),
        }
        yield from prefixed("images.", values, self)


@dataclass(kw_only=True)
class RetryConfig:
    """How often failures are retried, and how many stop the job."""

    max_attempts: int = 3
    """Attempts an image gets over all starts before it counts as failed."""
    max_consecutive_failures: int = 10
    """Different rows that fail one after another, without a success, before the job stops."""
    failed: bool = False
    """Forget the attempts of the rows that stayed failed, and try them anew."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each field that is out of range."""
        values = {
            name: number_problem(getattr(self, name), 1, 10**6, whole=True)
            for name in ("max_attempts", "max_consecutive_failures")
        }
        yield from prefixed("retry.", values, self)


@dataclass(kw_only=True)
class TimeoutConfig:
    """When a device counts as hung."""

    batch_s: float | None = None
    """Seconds a batch may take; None waits without limit."""

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each field that is out of range."""
        if self.batch_s is not None:
            values = {"batch_s": number_problem(self.batch_s, 0.001, 10**7)}
            yield from prefixed("timeout.", values, self)


@dataclass(kw_only=True)
class StopConfig:
    """When to stop although there is work left."""

    max_hours: float | None = None

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each field that is out of range."""
        if self.max_hours is not None:
            values = {"max_hours": number_problem(self.max_hours, 0, 10**6)}
            yield from prefixed("stop.", values, self)


def unknown_adapter(name: str, config: JobConfig) -> str:
    """Return the part of a message about an adapter that the config does not have."""
    known = ", ".join(config.adapters) or "none"
    return (
        f"names {name}, which is no adapter of this job; it has: {known}. "
        f"Set adapters.{name}.path or adapters.{name}.hub_id"
    )


_NAME_BYTES = 200


@dataclass(kw_only=True)
class JobConfig:
    """A job: a table, how to make an image of each row, and where to put it."""

    table: str = field(metadata=OF_POINT)
    """The prompt table: a file, a folder of shards, or a pattern such as `shards/*.parquet`."""
    name: str | None = None
    """Folder under `output_root`; None is the table's stem, of shards the name of their folder."""
    output_root: str = "outputs"
    model: ModelConfig = field(default_factory=SdxlModel, metadata=OF_POINT)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig, metadata=OF_JOB)
    adapters: dict[str, AdapterConfig] = field(default_factory=dict, metadata=OF_POINT)
    """Name -> LoRA: those that `sampling.lora` and the table's column `lora` may name."""
    seed: int = field(default=0, metadata=OF_JOB)
    """Seed of the job; each image's own is derived from it, the row key and the image index."""
    seeds: Any = field(default=None, metadata=OF_JOB)
    """A list, or a range such as 0..99 with both ends: every row with every seed."""
    images_per_prompt: int = field(default=1, metadata=OF_JOB)
    batch_size: int = field(default=1, metadata=OF_JOB)
    """Images denoised together."""
    reading: ReadingConfig = field(default_factory=ReadingConfig, metadata=OF_JOB)
    images: ImagesConfig = field(default_factory=ImagesConfig, metadata=OF_JOB)
    retry: RetryConfig = field(default_factory=RetryConfig)
    timeout: TimeoutConfig = field(default_factory=TimeoutConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    on_change: OnChange = OnChange.refuse
    on_missing: OnMissing | None = None
    """Images whose files are gone: `redo` makes them again, and so does None unless most are gone;
    `drop` leaves them out until a start says `redo`; `refuse`; or `trust`, which does not look."""
    on_removed: OnRemoved = OnRemoved.keep
    """Images whose row left the table: they stay, or `drop` moves them to .batchgen/removed."""
    limit: int | None = None
    """Only the first so many rows."""
    shard: str | None = None
    """Only every n-th batch, in a folder of its own: `3/16`, counted from 0. `auto/16` takes the
    index from Slurm or Kubernetes, and `auto` the count from a Slurm array, too."""

    def __post_init__(self) -> None:
        """Expand `~` in front of paths that are opened as they stand here; make seeds plain."""
        for name in ("table", "output_root"):
            path = getattr(self, name)
            if isinstance(path, PathLike) or (isinstance(path, str) and path.startswith("~")):
                setattr(self, name, str(expanded(path)))
        self.seeds = seeds.plain(self.seeds)
        if isinstance(self.shard, str):
            self.shard = shard.resolved(self.shard, os.environ)

    @property
    def job_name(self) -> str:
        """The name of the job's folder: `name`, or what `table_name` says."""
        if self.name is not None:
            return self.name
        return table_name(self.table)

    @property
    def whole_folder(self) -> Path:
        """The folder of the job, with all its shards."""
        return Path(self.output_root) / self.job_name

    @property
    def part(self) -> Shard | None:
        """The shard that is made; None for the whole job."""
        return shard.parsed(self.shard)

    @property
    def folder(self) -> Path:
        """Where the job writes."""
        return self.whole_folder / self.part.folder_name if self.part else self.whole_folder

    @property
    def width(self) -> int:
        """Width or height in pixels where a row gives none."""
        return self.sampling.width or self.model.width

    @property
    def height(self) -> int:
        """Width or height in pixels where a row gives none."""
        return self.sampling.height or self.model.height

    def image_defaults(self) -> dict[str, Any]:
        """Return the value of each setting, by name, where a row gives none."""
        return {**self.sampling.values(), "width": self.width, "height": self.height}

    def seed_values(self) -> Sequence[int] | None:
        """`seeds` as numbers, in order; None where every image derives its own."""
        return seeds.values(self.seeds)

    def validated(self) -> JobConfig:
        """Return the config in plain types, or raise one `ConfigError` that lists every problem."""
        problems = list(self.problems())
        if problems:
            raise ConfigError(problems)
        return structured(type(self), self)

    def problems(self) -> Iterator[str]:
        """Yield a sentence for each setting of a wrong type or out of range, parts included."""
        try:
            typed = structured(type(self), self)
        except ConfigError as error:
            yield from error.problems
        else:
            yield from typed.range_problems()

    def range_problems(self) -> Iterator[str]:
        """Yield a sentence for each setting that is out of range, where all types are right."""
        yield from self._name_problems()
        values = {
            "seed": SETTINGS["seed"].problem(self.seed),
            "images_per_prompt": IMAGES_PER_PROMPT.problem(self.images_per_prompt),
            "batch_size": number_problem(self.batch_size, 1, 1024, whole=True),
            "seeds": seeds.problem(self.seeds, self.images_per_prompt),
        }
        if self.limit is not None:
            values["limit"] = number_problem(self.limit, 1, 2**53, whole=True)
        if self.shard is not None:
            values["shard"] = shard.problem(self.shard)
        yield from prefixed("", values, self)
        parts = (self.model, self.device, self.sampling, self.reading, self.images)
        for part in (*parts, self.executor, self.retry, self.timeout, self.stop):
            yield from part.problems()
        if self.executor.kind is ExecutorKind.ray and self.device.index:
            yield (
                f"device.index={self.device.index} has no meaning with executor=ray, where each "
                "worker sees one NPU, its own. Leave it out; ASCEND_RT_VISIBLE_DEVICES says which "
                "NPUs are used."
            )
        yield from self._adapter_problems()

    def _adapter_problems(self) -> Iterator[str]:
        for name, adapter in self.adapters.items():
            yield from adapter.problems(name)
        if lora.problem(self.sampling.lora):
            return
        for name in lora.weights_of(self.sampling.lora):
            if name not in self.adapters:
                yield f"sampling.lora={self.sampling.lora!r} {unknown_adapter(name, self)}."

    def _name_problems(self) -> Iterator[str]:
        if not self.table:
            yield "table is empty: name the prompt table, table=prompts.csv."
            return
        name = self.job_name
        if name in ("", ".", "..") or name.startswith(".") or re.search(r"[/\\\x00-\x1f]", name):
            yield (
                f"name={name!r} would leave {self.output_root!r} or hide in it: "
                "it is the name of one folder, without / and without a dot in front."
            )
        if len(name.encode("utf-8", "surrogatepass")) > _NAME_BYTES:
            yield f"name={name[:40]!r}... is longer than {_NAME_BYTES} bytes."
