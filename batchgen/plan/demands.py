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
from batchgen.config.models import SdxlModel
from batchgen.config.schedulers import NO_ZERO_SNR, SCHEDULERS
from batchgen.errors import ConfigError, TableError
from batchgen.model import few_steps, weights
from batchgen.model.few_steps import FewSteps
from batchgen.model.noise_schedule import PLAIN, NoiseSchedule
from batchgen.table import Rows

_compute: Any = pc


@dataclass(frozen=True, slots=True)
class Demands:
    """Those of a model and of its adapters; of a model without files there are none."""

    schedule: NoiseSchedule = PLAIN
    few_steps: Mapping[str, FewSteps] = field(default_factory=dict)
    """The kind of weights that draw in a few steps: `model`, or `adapters.NAME`."""

    @classmethod
    def of(cls, config: JobConfig, adapters: Mapping[str, Adapter]) -> Demands:
        """Return those of a job whose files are here; reads headers. Raises as `weights.find`."""
        kinds: dict[str, FewSteps | None] = {}
        schedule = PLAIN
        if isinstance(config.model, SdxlModel):
            files = weights.find(config.model)
            schedule = files.schedule()
            kinds["model"] = few_steps.of_model(config.model, files)
        for name, adapter in adapters.items():
            kind = few_steps.of_adapter(config.adapters[name], adapter.path)
            kinds[f"adapters.{name}"] = kind
        return cls(schedule, {place: kind for place, kind in kinds.items() if kind is not None})

    def refuse_scheduler(self, name: str) -> None:
        """Raise `ConfigError` for a job's scheduler that cannot draw with the model."""
        if reason := unmet(self.schedule, name):
            raise ConfigError([f"sampling.scheduler={name} {reason}"])

    def refuse_rows(self, rows: Rows, settings: Mapping[str, Any]) -> None:
        """Raise `TableError` for the first row whose scheduler cannot draw with the model."""
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

    def add(self, rows: Rows, settings: Mapping[str, Any], limit: int) -> None:
        """Look at the resolved settings of a run of rows; those from `limit` on are not drawn."""
        for place, kind in self._kinds.items():
            is_misfit = _flags(_compute.greater(settings["steps"], kind.most_steps))
            is_misfit |= _flags(_compute.greater(settings["guidance_scale"], kind.most_guidance))
            if place != "model":
                is_misfit &= _is_used(settings["lora"], place.partition(".")[2])
            found = np.flatnonzero(is_misfit[: max(0, limit - rows.first_index)])
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
