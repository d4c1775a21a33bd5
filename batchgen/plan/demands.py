"""What the weights of a job demand of the settings of its images: refused, or told, where unmet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchgen.adapters.adapter import Adapter
from batchgen.config import lora
from batchgen.config.counts import counted
from batchgen.config.job import JobConfig
from batchgen.config.models import FakeModel, SdxlModel
from batchgen.config.sampling import SamplingConfig
from batchgen.config.schedulers import (
    CALLED_TWICE,
    NO_ZERO_SNR,
    SCHEDULERS,
    called_twice_problem,
)
from batchgen.config.settings import SETTINGS
from batchgen.errors import ConfigError, TableError
from batchgen.model import few_steps, weights
from batchgen.model.few_steps import FewSteps
from batchgen.model.noise_schedule import PLAIN, NoiseSchedule
from batchgen.table import Rows

_compute: Any = pc
_MOST_BRANCHES = int(SETTINGS["unet_cache_branch"].high) + 1


@dataclass(frozen=True, slots=True)
class Demands:
    """Those of a model and of its adapters; of a model without files there are none."""

    schedule: NoiseSchedule = PLAIN
    few_steps: Mapping[str, FewSteps] = field(default_factory=dict)
    """The kind of weights that draw in a few steps: `model`, or `adapters.NAME`."""
    n_branches: int = _MOST_BRANCHES
    """Those that `unet_cache_branch` may name, from 0: skip connections of the UNet."""

    @classmethod
    def of(cls, config: JobConfig, adapters: Mapping[str, Adapter]) -> Demands:
        """Return those of a job whose files are here; reads headers. Raises as `weights.find`."""
        kinds: dict[str, FewSteps | None] = {}
        schedule = PLAIN
        n_branches = _MOST_BRANCHES
        files = None if isinstance(config.model, FakeModel) else weights.find(config.model)
        if files is not None:
            n_branches = files.n_skip_connections()
        if files is not None and isinstance(config.model, SdxlModel):
            schedule = files.schedule()
            kinds["model"] = few_steps.of_model(config.model, files)
        for name, adapter in adapters.items():
            kind = few_steps.of_adapter(config.adapters[name], adapter.path)
            kinds[f"adapters.{name}"] = kind
        known = {place: kind for place, kind in kinds.items() if kind is not None}
        return cls(schedule, known, n_branches)

    def refuse_job(self, sampling: SamplingConfig) -> None:
        """Raise `ConfigError` for settings of a job that the model cannot draw with."""
        if reason := unmet(self.schedule, sampling.scheduler):
            raise ConfigError([f"sampling.scheduler={sampling.scheduler} {reason}"])
        branch = sampling.unet_cache_branch
        if sampling.unet_cache and branch >= self.n_branches:
            raise ConfigError([f"sampling.unet_cache_branch={branch} {self._too_deep()}"])

    def refuse_rows(self, rows: Rows, settings: Mapping[str, Any]) -> None:
        """Raise `TableError` for the first row with settings that cannot be drawn with."""
        self._refuse_schedulers(rows, settings)
        is_cached = _flags(_compute.greater(settings["unet_cache"], 0))
        if not is_cached.any():
            return
        twice = pa.array(sorted(CALLED_TWICE))
        found = np.flatnonzero(is_cached & _flags(_compute.is_in(settings["scheduler"], twice)))
        if len(found):
            at, row = int(found[0]), rows.first_index + int(found[0])
            reason = called_twice_problem(settings["unet_cache"][at].as_py())
            raise TableError(f"row {row}: scheduler {settings['scheduler'][at].as_py()!r} {reason}")
        branches = settings["unet_cache_branch"]
        found = np.flatnonzero(
            is_cached & _flags(_compute.greater_equal(branches, self.n_branches))
        )
        if len(found):
            at, row = int(found[0]), rows.first_index + int(found[0])
            raise TableError(f"row {row}: unet_cache_branch {branches[at]} {self._too_deep()}")

    def _too_deep(self) -> str:
        return f"is not in the UNet of this model, whose last is {self.n_branches - 1}."

    def _refuse_schedulers(self, rows: Rows, settings: Mapping[str, Any]) -> None:
        if not self.schedule.has_zero_snr:
            return
        unable = pa.array(sorted(NO_ZERO_SNR))
        found = np.flatnonzero(_flags(_compute.is_in(settings["scheduler"], unable)))
        if len(found):
            name = settings["scheduler"][int(found[0])].as_py()
            row = rows.first_index + int(found[0])
            raise TableError(f"row {row}: scheduler {name!r} {unmet(self.schedule, name)}")


class Misfits:
    """Rows with steps or guidance that few-step weights were not made for."""

    def __init__(self, demands: Demands) -> None:
        self._kinds = demands.few_steps
        self._n_rows: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._cached: dict[str, int] = {}
        """The first row of each of the weights that has a UNet cache."""

    def add(self, rows: Rows, settings: Mapping[str, Any], limit: int) -> None:
        """Look at the resolved settings of a run of rows; those from `limit` on are not drawn."""
        for place, kind in self._kinds.items():
            is_misfit = _flags(_compute.greater(settings["steps"], kind.most_steps))
            is_misfit |= _flags(_compute.greater(settings["guidance_scale"], kind.most_guidance))
            is_cached = _flags(_compute.greater(settings["unet_cache"], 1))
            if place != "model":
                is_used = _is_used(settings["lora"], place.partition(".")[2])
                is_misfit, is_cached = is_misfit & is_used, is_cached & is_used
            n_drawn = max(0, limit - rows.first_index)
            for at in np.flatnonzero(is_cached[:n_drawn])[:1].tolist():
                self._cached.setdefault(place, rows.first_index + at)
            found = np.flatnonzero(is_misfit[:n_drawn])
            self._n_rows[place] = self._n_rows.get(place, 0) + len(found)
            if len(found) and place not in self._first:
                self._first[place] = rows.first_index + int(found[0])

    def notes(self) -> Iterator[str]:
        """Yield a line for each of the weights that have such rows."""
        for place, first in self._first.items():
            kind, n_rows = self._kinds[place], self._n_rows[place]
            guidance = f"guidance of at most {kind.most_guidance:g}"
            yield (
                f"{place} is named like {kind.label}, which is made for at most {kind.most_steps} "
                f"steps and {guidance}; {counted(n_rows, 'row')} with more, the first row {first}, "
                f"and their pictures will look burnt. The preset sampling={kind.preset} brings "
                "weights and settings of this kind; what suits these weights: "
                f"{kind.settings}"
            )
        for place, first in self._cached.items():
            yield (
                f"{place} is named like {self._kinds[place].label}, which draws in so few steps "
                "that each is far from the last: unet_cache gains little there and costs detail; "
                f"the first row with it is {first}. Leave it at 0."
            )


def unmet(schedule: NoiseSchedule, scheduler: str) -> str | None:
    """Say why a scheduler cannot draw with a model of this noise schedule, or None."""
    if not (schedule.has_zero_snr and scheduler in NO_ZERO_SNR):
        return None
    able = ", ".join(name for name in SCHEDULERS if name not in NO_ZERO_SNR)
    return (
        "cannot draw with this model, whose last timestep is noise alone "
        f"(rescale_betas_zero_snr): MindOne 0.5.0's cannot be given such betas. Take one of {able}."
    )


def _is_used(texts: Any, name: str) -> NDArray[np.bool_]:
    """Return which rows use an adapter: (n,)."""
    using = [text for text in _compute.unique(texts).to_pylist() if name in lora.weights_of(text)]
    return _flags(_compute.is_in(texts, pa.array(using, pa.string())))


def _flags(values: Any) -> NDArray[np.bool_]:
    return np.array(values.to_numpy(zero_copy_only=False), dtype=np.bool_)
