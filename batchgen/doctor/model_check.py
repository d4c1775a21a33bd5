"""The files of the model, and the types it will compute in."""

from __future__ import annotations

from collections.abc import Iterator

from batchgen.config import groups, shell
from batchgen.config.decimals import size_text
from batchgen.config.device import DeviceKind
from batchgen.config.models import Dtype, FakeModel, ModelConfig
from batchgen.config.sampling import SamplingConfig
from batchgen.doctor.check import Check, failed, ok, warning
from batchgen.errors import ModelError, ModelMissing, OtherModel
from batchgen.model import weights
from batchgen.plan.demands import unmet


def checks(
    model: ModelConfig, kind: DeviceKind, scheduler: str = SamplingConfig.scheduler
) -> Iterator[Check]:
    """Yield where the model is and what it computes in; reads headers, hashes nothing."""
    yield _files(model, scheduler)
    if not isinstance(model, FakeModel):
        yield _types(model, kind)


def _files(model: ModelConfig, scheduler: str) -> Check:
    if isinstance(model, FakeModel):
        return ok("model files", f"model={model.name} needs none")
    of = (
        shell.override("model", model.name)
        if model.name in groups.names("model")
        else "with the settings of this job"
    )
    download = f"batchgen download {of}"
    try:
        files = weights.find(model)
        files.check()
    except ModelMissing as error:
        return warning("model files", str(error).splitlines()[0].partition(". ")[0], download)
    except OtherModel as error:
        finding, _, cure = str(error).rpartition(". ")
        return failed("model files", finding, cure)
    except ModelError as error:
        return failed("model files", " ".join(str(error).split()), download)
    if reason := unmet(files.schedule(), scheduler):
        finding, _, cure = reason.partition(". ")
        return failed("model files", f"sampling.scheduler={scheduler} {finding}", cure)
    return ok(
        "model files",
        f"{files.single or files.folder}, whole, {size_text(weights_bytes(model))}",
    )


def weights_bytes(model: ModelConfig) -> int:
    """Return the size of the weight files, which is what they take on an NPU; 0 if unknown."""
    if isinstance(model, FakeModel):
        return 0
    try:
        return sum(
            file.stat().st_size
            for file in weights.find(model).loaded()
            if file.suffix == ".safetensors"
        )
    except (ModelError, OSError):
        return 0


def _types(model: ModelConfig, kind: DeviceKind) -> Check:
    main, vae = weights.dtypes(model, kind)
    finding = f"{main.value}, the VAE in {vae.value}"
    if vae is Dtype.float16:
        finding += "; in float16 SDXL's VAE overflows and pictures come out black"
        return warning("precision", finding, "model.vae_dtype=float32")
    if kind is DeviceKind.ascend:
        finding += " and so is its attention, which MindOne would cast to float16"
    return ok("precision", finding)
