"""A job before it runs: its identity, whether it is finished, what is left, what has changed.

Reads only; the runner writes. `import mindspore` never happens here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata as distributions
from pathlib import Path
from typing import Any

from batchgen.adapters import adapter
from batchgen.adapters.adapter import Adapter
from batchgen.config.device import DeviceKind
from batchgen.config.job import JobConfig, OnMissing
from batchgen.config.job_identity import of_job, of_part
from batchgen.config.models import FakeModel
from batchgen.config.names import plain
from batchgen.config.revisions import REVISIONS, raised
from batchgen.errors import TableError
from batchgen.ledger.contents import consistently, read_contents
from batchgen.ledger.image_names import count_missing
from batchgen.ledger.reader import n_committed
from batchgen.model import weights
from batchgen.plan.backlog import Backlog, Identity
from batchgen.plan.demands import Demands
from batchgen.runner.device_choice import resolved_device
from batchgen.storage.folder import FORMAT, JobFolder
from batchgen.storage.kinds import refuse_other_files, refuse_other_folders
from batchgen.table import Stamp, Table, files_of, open_table, stamp_of

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
    staged: Path | None = None
    """A table that takes the place of the config's once the start is let in."""

    @classmethod
    def identify(cls, config: JobConfig, staged: Path | None = None) -> Job:
        """Validate a config and find device and model files. Raises `Refused` of some kind."""
        config = config.validated()
        folder = JobFolder(config.folder)
        folder.refuse_unless_job()
        if config.part is None:
            folder.refuse_shards()
        else:
            JobFolder(config.whole_folder).refuse_unless_job()
        refuse_other_folders(folder)
        refuse_other_files(folder)
        device = resolved_device(config)
        names = _OURS if isinstance(config.model, FakeModel) else _OURS + _MODELS
        versions = {name: distributions.version(name) for name in names}
        model = weights.identity(config.model, device)
        found = adapter.identified(config.adapters)
        adapter.check(found.values(), config.model)
        job = cls(config, folder, device, model, versions, found, staged)
        job.demands.refuse_job(config.sampling)
        return job

    @cached_property
    def demands(self) -> Demands:
        """What model and adapters demand of the settings of images."""
        return Demands.of(self.config, self.adapters)

    @property
    def merged(self) -> JobFolder | None:
        """The whole job's folder, where a shard has one that other shards were merged into."""
        whole = JobFolder(self.config.whole_folder)
        return whole if self.config.part is not None and whole.is_job() else None

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
        places = [self.folder] if self.merged is None else [self.folder, self.merged]
        known: dict[str, Any] = {}
        for place in places:
            known |= (place.identity() or {}).get("environments", {})
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
        before = self.folder.identity() or {}
        environments = before.get("environments", {})
        return {
            **({"shards": before["shards"]} if "shards" in before else {}),
            "format": FORMAT,
            "batchgen": self.versions["batchgen"],
            "environments": {**environments, self.identity.environment: self.environment},
            "config": plain(self.config),
            "model_class": type(self.config.model).__name__,
            "identity": self.description,
            "table": {
                "path": str(table.path),
                "resolved": str(table.path.resolve()),
                "sha256": table.sha256(),
                "size_bytes": table.stamp.size_bytes,
                "n_rows": backlog.n_rows,
                "n_images": backlog.n_images,
                "columns_used": table.columns_used,
                "columns_carried": table.carried.names,
            },
        }

    def finished_stamp(self, table: Stamp) -> dict[str, Any]:
        """Return what must be unchanged for a finished job to be known as finished at once."""
        path, config = Path(self.config.table).resolve(), self.config
        beyond: dict[str, Any] = {"on_missing": config.on_missing and config.on_missing.value}
        beyond |= {"on_removed": config.on_removed.value}
        beyond |= {"carry": config.reading.carry, "drop": config.reading.drop or None}
        several = {"n_files": table.n_files, "files": table.inode} if table.n_files > 1 else {}
        return {
            **{key: value for key, value in beyond.items() if value not in (None, "keep")},
            "identity": self.description,
            "revisions": dict(REVISIONS),
            "limit": self.config.limit,
            "on_change": self.config.on_change.value,
            "table": {
                "path": str(path),
                "size_bytes": table.size_bytes,
                "mtime_ns": table.mtime_ns,
                **several,
            },
        }

    def n_finished(self) -> tuple[int, list[str]] | None:
        """Return how many images a finished job has, and what is to be said of them.

        None if there may be something to do.
        """
        finished = (self.folder.identity() or {}).get("finished")
        stamp = self._stamp_now()
        if not isinstance(finished, dict) or stamp is None or finished.get("stamp") != stamp:
            return None
        contents = consistently(self.folder, lambda: read_contents(self.folder))
        is_compact = all(source.path == self.folder.metadata for source in contents.sources)
        is_same = finished.get("last_sequence") == contents.last_sequence
        is_whole = finished.get("n_committed") == n_committed(contents)
        if not (is_compact and is_same and is_whole):
            return None
        if self._last_state() != "finished" or self.folder.crash_notes():
            return None  # the last start was disturbed at its end
        is_trusted = self.config.on_missing is OnMissing.trust
        if not is_trusted and count_missing(self.folder, contents).n_images:
            return None
        return int(finished["n_images"]), [str(remark) for remark in finished.get("remarks", ())]

    def _stamp_now(self) -> Any:
        """Return `finished_stamp` as job.json has it; None for a table that is to be looked at."""
        if self.staged is not None or self.merged is not None:
            return None
        try:
            return as_read(self.finished_stamp(stamp_of(files_of(self.config.table))))
        except (TableError, OSError):
            return None

    def _last_state(self) -> str:
        try:
            return str(json.loads(self.folder.status_json.read_bytes())["state"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""

    def open_table(self) -> Table:
        """Open the prompt table; reads its header only."""
        return open_table(self.staged or self.config.table, self.config.reading)


def comparable(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an environment, or of a whole identity, that pictures may depend on."""
    versions = environment.get("versions")
    known = versions if isinstance(versions, Mapping) else {}
    compared = {name: known[name] for name in _COMPARED if name in known}
    return {**environment, "versions": compared}


def as_read(content: Any) -> Any:
    """Return a value as it is after a round trip through JSON."""
    return json.loads(json.dumps(content))
