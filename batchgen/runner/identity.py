"""A job before it runs: its identity, whether it is finished, what is left, what has changed.

Reads only; the runner writes. `import mindspore` never happens here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata as distributions
from pathlib import Path
from typing import Any

from batchgen.adapters import adapter
from batchgen.adapters.adapter import Adapter
from batchgen.config.device import DeviceKind
from batchgen.config.job import JobConfig, OnChange
from batchgen.config.job_identity import of_job, of_part
from batchgen.config.models import FakeModel
from batchgen.config.names import plain
from batchgen.config.revisions import REVISIONS, raised
from batchgen.errors import DeviceError, JobChanged
from batchgen.ledger.contents import Contents, consistently, read_contents
from batchgen.ledger.finished import load_finished
from batchgen.ledger.reader import live_tables, n_committed
from batchgen.ledger.state import LedgerState
from batchgen.model import weights
from batchgen.plan.backlog import Backlog, Finished, Identity, SetAside
from batchgen.plan.demands import Demands
from batchgen.plan.scan import scan
from batchgen.storage.folder import FORMAT, JobFolder
from batchgen.table import Table, open_table

INSTANT_ROWS = 100_000
"""Tables up to this length need not be read again to know that a job is finished."""

_OURS = ("batchgen", "numpy", "pillow")
_MODELS = ("mindspore", "mindone", "transformers")
_COMPARED = ("numpy", *_MODELS)
"""Versions that pictures may depend on. The others are only written down: a new batchgen raises the
numbers of `config.revisions` where pictures change, and a new Pillow changes bytes, not pixels."""


@dataclass(frozen=True)
class Job:
    """A config that is valid on this machine, with the identity of what it would make."""

    config: JobConfig
    folder: JobFolder
    device: DeviceKind
    """`ascend` or `cpu`."""
    model: weights.ModelIdentity
    versions: dict[str, str]
    adapters: dict[str, Adapter]

    @classmethod
    def identify(cls, config: JobConfig) -> Job:
        """Validate a config and find device and model files. Raises `Refused` of some kind."""
        config.validated()
        folder = JobFolder(config.folder)
        folder.refuse_unless_job()
        device = resolved_device(config)
        names = _OURS if isinstance(config.model, FakeModel) else _OURS + _MODELS
        versions = {name: distributions.version(name) for name in names}
        model = weights.identity(config.model, device)
        found = adapter.identified(config.adapters)
        adapter.check(found.values(), config.model)
        job = cls(config, folder, device, model, versions, found)
        job.demands.refuse_scheduler(config.sampling.scheduler)
        return job

    @cached_property
    def demands(self) -> Demands:
        """What model and adapters demand of the settings of images."""
        return Demands.of(self.config, self.adapters)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """What shapes the files next to settings and model: the whole job shares it."""
        return {
            "batch_size": self.config.batch_size,
            "deterministic": self.config.device.deterministic,
            "device": self.device.value,
            "dtype": self.model.dtype,
            "images": of_part(self.config.images),
            "vae_tiling": self.config.model.vae_tiling,
            "versions": self.versions,
            **self._revisions,
        }

    @property
    def _revisions(self) -> dict[str, dict[str, int]]:
        """The numbers of what all images of the job have in common, where one was raised."""
        schedule, is_fake = self.demands.schedule, isinstance(self.config.model, FakeModel)
        things = [f"pipeline.{'fake' if is_fake else 'sdxl'}"]
        things.append(f"prediction.{schedule.prediction_type}")
        numbers = raised([*things, "mark.ztsnr"] if schedule.is_marked else things)
        return {"revisions": numbers} if numbers else {}

    @cached_property
    def same_environments(self) -> frozenset[str]:
        """This folder's environments, as hashes, that give the same pictures as the present one."""
        known = (self.folder.identity() or {}).get("environments", {})
        now = as_read(comparable(self.environment))
        return frozenset(
            name
            for name, then in known.items()
            if isinstance(then, dict) and comparable(then) == now
        )

    @cached_property
    def identity(self) -> Identity:
        """What images are compared by."""
        text = json.dumps(self.environment, sort_keys=True)
        environment = hashlib.sha256(text.encode()).hexdigest()[:16]
        return Identity(self.model.revision, environment, self.adapter_revisions)

    @property
    def adapter_revisions(self) -> dict[str, str]:
        """Adapter name -> hash of its file."""
        return {name: adapter.revision for name, adapter in self.adapters.items()}

    @cached_property
    def description(self) -> dict[str, Any]:
        """What job.json holds to name a change by: the part of the config that shapes images."""
        model = {"name": self.model.name, "revision": self.model.revision}
        environment = comparable(self.environment)
        adapters = self.adapter_revisions
        return {**of_job(self.config), **environment, "model": model, "adapters": adapters}

    def as_json(self, table: Table, backlog: Backlog) -> dict[str, Any]:
        """Return the content of job.json."""
        environments = (self.folder.identity() or {}).get("environments", {})
        return {
            "format": FORMAT,
            "batchgen": self.versions["batchgen"],
            "environments": {**environments, self.identity.environment: self.environment},
            "config": plain(self.config),
            "model_class": type(self.config.model).__name__,
            "identity": self.description,
            "table": {
                "path": str(table.path),
                "size_bytes": table.stamp.size_bytes,
                "n_rows": backlog.n_rows,
                "n_images": backlog.n_images,
                "columns_used": table.columns_used,
                "columns_carried": table.carried.names,
            },
        }

    def finished_stamp(self, size_bytes: int, mtime_ns: int) -> dict[str, Any]:
        """Return what must be unchanged for a finished job to be known as finished at once."""
        path = Path(self.config.table).resolve()
        return {
            "identity": self.description,
            "revisions": dict(REVISIONS),
            "limit": self.config.limit,
            "on_change": self.config.on_change.value,
            "table": {"path": str(path), "size_bytes": size_bytes, "mtime_ns": mtime_ns},
        }

    def n_finished(self) -> int | None:
        """Return how many images a finished job has, None if there may be something to do."""
        finished = (self.folder.identity() or {}).get("finished")
        table = Path(self.config.table)
        if not isinstance(finished, dict) or not table.is_file():
            return None
        status = table.stat()
        stamp = self.finished_stamp(status.st_size, status.st_mtime_ns)
        if finished.get("stamp") != as_read(stamp):
            return None
        contents = consistently(self.folder, lambda: read_contents(self.folder))
        is_compact = all(source.path == self.folder.metadata for source in contents.sources)
        is_same = finished.get("last_sequence") == contents.last_sequence
        is_whole = finished.get("n_committed") == n_committed(contents)
        return int(finished["n_images"]) if is_compact and is_same and is_whole else None

    def open_table(self) -> Table:
        """Open the prompt table; reads its header only."""
        return open_table(self.config.table, self.config.reading)

    def committed(self) -> tuple[Contents, Finished]:
        """Return what the folder holds, and as a set of what is done."""
        same = dict.fromkeys(self.same_environments, self.identity.environment)

        def read() -> tuple[Contents, Finished]:
            contents = read_contents(self.folder)
            return contents, load_finished(contents, same)

        return consistently(self.folder, read)

    def scan(self, table: Table, state: LedgerState, finished: Finished) -> Backlog:
        """Read the whole table and compare it with what is committed."""
        aside = set_aside(state, self.config)
        return scan(table, self.config, self.identity, finished, aside, self.demands)

    def refuse_changes(self, backlog: Backlog, contents: Contents) -> None:
        """Raise `JobChanged` where finished images differ and `on_change` is `refuse`."""
        if backlog.n_changed and self.config.on_change is OnChange.refuse:
            raise JobChanged("\n".join(self._difference(backlog, contents)))

    def _difference(self, backlog: Backlog, contents: Contents) -> Iterator[str]:
        yield (
            f"{self.folder.root}: {backlog.n_changed} finished images were made with other "
            "settings."
        )
        before = (self.folder.identity() or {}).get("identity")
        now = as_read(self.description)
        for key, old, new in _differences(comparable(before or now), now):
            yield f"  {key}: {old} -> {new}"
        yield from self._row_differences(backlog, contents)
        yield (
            "on_change=redo makes them again, on_change=keep leaves them as they are, "
            "and another name= starts a job of its own."
        )

    def _row_differences(self, backlog: Backlog, contents: Contents) -> Iterator[str]:
        wanted = {image.key: image for image in backlog.changed}
        for _, table in live_tables(contents):
            for row in table.to_pylist() if wanted else ():
                image = wanted.pop((row["row_key"], row["image_index"]), None)
                if image is None:
                    continue
                now = image.settings.as_columns()
                fields = [
                    f"{k}: {row.get(k)!r} -> {v!r}" for k, v in now.items() if row.get(k) != v
                ]
                fields += self._environment_differences(row["environment"])
                what = "; ".join(fields) or "same settings, other model or environment"
                which = f"row {image.row_index} (key {image.row_key!r}), image {image.image_index}"
                yield f"  {which}: {what}"

    def _environment_differences(self, environment: str) -> list[str]:
        """Return what of the environment is another now than when a row was made."""
        known = (self.folder.identity() or {}).get("environments", {})
        now = as_read(comparable(self.environment))
        then = comparable(known.get(environment, now))
        return [f"{key}: {old} -> {new}" for key, old, new in _differences(then, now)]


def comparable(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an environment, or of a whole identity, that pictures may depend on."""
    versions = environment.get("versions", {})
    compared = {name: versions[name] for name in _COMPARED if name in versions}
    return {**environment, "versions": compared}


def as_read(content: Any) -> Any:
    """Return a value as it is after a round trip through JSON."""
    return json.loads(json.dumps(content))


def notes(table: Table, backlog: Backlog) -> list[str]:
    """Return what the user should know before the job starts."""
    taken = [f"{backlog.n_taken:,} finished images have no row in the table any more; they stay."]
    return [*table.notes, *backlog.cautions, *(taken if backlog.n_taken else [])]


def resolved_device(config: JobConfig) -> DeviceKind:
    """Return `ascend` or `cpu` for the device a job asks for.

    An NPU shows as /dev/davinci<N>. Raises `DeviceError` where a full-size model would land on a
    CPU without being asked to.
    """
    if config.device.kind is not DeviceKind.auto:
        return config.device.kind
    if any(Path("/dev").glob("davinci[0-9]*")):
        return DeviceKind.ascend
    if config.model.full_size:
        raise DeviceError(
            f"No NPU here (there is no /dev/davinci*), and model={config.model.name} takes minutes "
            "a step on a CPU. Check the driver with npu-smi info; device=cpu runs it all the same, "
            "model=demo is small."
        )
    return DeviceKind.cpu


def set_aside(state: LedgerState, config: JobConfig) -> SetAside:
    """Return which images are no longer made in their batch, from the recorded failures."""
    if config.retry.failed:
        return SetAside({}, {}, {})
    attempts = {key: failure["attempt"] for key, failure in state.failures.items()}
    spent = {k: n for k, n in attempts.items() if n >= config.retry.max_attempts}
    retries = {key: n for key, n in attempts.items() if key not in spent}
    for key, suspect in state.suspects.items():
        retries[key] = spent.pop(key, retries.get(key, 0)) + len(suspect.alone)
    fingerprints = {key: state.failures[key]["fingerprint"] for key in spent}
    return SetAside(retries, spent, fingerprints)


def _differences(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{prefix}.{key}".lstrip("."))
    elif old != new:
        yield prefix, json.dumps(old, ensure_ascii=False), json.dumps(new, ensure_ascii=False)
