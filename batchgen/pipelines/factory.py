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
    """Load a model and return it ready to generate.

    Takes seconds to minutes, and imports mindspore for every model but `fake`.

    Args:
        model: The model.
        device: How the device is set up.
        kind: `ascend` or `cpu`: where the model goes.
        adapters: All that images may name; each is loaded when the first one does.

    Raises:
        DeviceError: The device does not start, or the model does not fit on it.
        ModelError: Its files, or those of an adapter, cannot be used.
    """
    if isinstance(model, FakeModel):
        from batchgen.pipelines.fake import FakePipeline

        return FakePipeline(model)
    from batchgen.pipelines.mindspore.sdxl import SdxlPipeline

    return SdxlPipeline(model, device, kind, adapters)
