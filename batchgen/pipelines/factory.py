"""How a pipeline is loaded, by the class of its config; heavy libraries are imported on demand."""

from __future__ import annotations

from collections.abc import Mapping

from batchgen.adapters.adapter import Adapter
from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.models import FakeModel, ModelConfig
from batchgen.pipelines.base import NO_ADAPTERS, Pipeline


def load(
    model: ModelConfig,
    device: DeviceConfig,
    kind: DeviceKind,
    adapters: Mapping[str, Adapter] = NO_ADAPTERS,
) -> Pipeline:
    """Load a model onto `kind`, which is `ascend` or `cpu`, and return it ready to generate.

    `adapters` are all that images may name; each is loaded when the first one does.

    Takes seconds to minutes, and imports mindspore for every model but `fake`.
    """
    if isinstance(model, FakeModel):
        from batchgen.pipelines.fake import FakePipeline

        return FakePipeline(model)
    from batchgen.pipelines.mindspore.sdxl import SdxlPipeline

    return SdxlPipeline(model, device, kind, adapters)
