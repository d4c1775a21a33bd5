"""Load an SDXL pipeline from its files, each tensor into its parameter."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from batchgen.config.models import Dtype
from batchgen.errors import DeviceError, DeviceOutOfMemory, ModelError
from batchgen.faults import device_errors
from batchgen.faults.diagnosis import one_line, with_cure
from batchgen.model.model_files import WEIGHTS, ModelFiles
from batchgen.model.shapes import canonical
from batchgen.model.tensors import Stored
from batchgen.pipelines.mindspore.machine import Machine


def loaded(machine: Machine, files: ModelFiles, dtypes: tuple[Dtype, Dtype]) -> Any:
    """The pipeline of files that `ModelFiles.check` has found whole.

    Tensors are read here, one after another, and every parameter must get its own: mindone's
    loader initialises a missing one at random, holds a component twice in memory while it loads,
    and does not check that shards hold what their index lists.

    Args:
        machine: The device, started.
        files: The model's.
        dtypes: Of the model and of its VAE, as in the identity.

    Raises:
        ModelError: The files do not fill the model.
        DeviceError: It does not fit on the device.
    """
    import_mindone()
    from mindone.diffusers import StableDiffusionXLPipeline

    main, vae = (getattr(machine.ms, dtype.value) for dtype in dtypes)
    try:
        parts = {
            name: _component(machine.ms, files, name, vae if name == "vae" else main)
            for name in WEIGHTS
        }
        with _quiet():
            pipe = StableDiffusionXLPipeline.from_pretrained(
                str(files.folder), add_watermarker=False, local_files_only=True, **parts
            )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise _refusal(error, files) from error
    pipe.set_progress_bar_config(disable=True)
    if machine.is_ascend:
        # Else the attention of a float32 VAE is computed in float16 after all.
        pipe.vae.set_flash_attention_force_cast_dtype(None)
    return pipe


def _component(ms: Any, files: ModelFiles, name: str, dtype: Any) -> Any:
    tensors = files.tensors(name)
    model = built(name, str(files.folder / name))
    parameters = {canonical(own): value for own, value in model.parameters_and_names()}
    theirs = {(own, tuple(value.shape)) for own, value in parameters.items()}
    if other := theirs ^ {(own, tensor.shape) for own, tensor in tensors.items()}:
        raise ModelError(
            f"mindone's {type(model).__name__} is not what {files.folder / name / 'config.json'} "
            f"calls for: {min(other)[0]}, one of {len(other)}. Install mindone==0.5.0."
        )
    by_file: dict[Path, list[tuple[Any, Stored]]] = {}
    for own, tensor in tensors.items():
        by_file.setdefault(tensor.file, []).append((parameters[own], tensor))
    for file, pairs in by_file.items():
        with safe_open(str(file), framework="np") as opened:
            for parameter, tensor in pairs:
                _fill(parameter, ms.Tensor(tensor.read(opened)), dtype)
    model.set_train(False)
    return model


def built(name: str, folder: str) -> Any:
    """A component without values: its parameters take no memory until they are filled."""
    from mindone.diffusers import AutoencoderKL, UNet2DConditionModel
    from mindone.transformers import CLIPTextModel, CLIPTextModelWithProjection
    from mindspore.nn.utils import no_init_parameters

    with _quiet(), no_init_parameters():
        if name in ("unet", "vae"):
            kind = UNet2DConditionModel if name == "unet" else AutoencoderKL
            return kind.from_config(kind.load_config(folder, local_files_only=True))
        encoder = CLIPTextModel if name == "text_encoder" else CLIPTextModelWithProjection
        config = encoder.config_class.from_pretrained(folder, local_files_only=True)
        return encoder(config)


def _fill(parameter: Any, value: Any, dtype: Any) -> None:
    parameter.set_dtype(dtype)
    parameter.set_data(value)
    parameter.init_param = True


def _refusal(error: Exception, files: ModelFiles) -> ModelError | DeviceError:
    folder = files.single or files.folder
    known = device_errors.image_error(str(error))
    if isinstance(known, DeviceOutOfMemory):
        return DeviceError(f"The model in {folder} does not fit on the device: {known}")
    if known is not None:
        return DeviceError(str(known))
    return ModelError(with_cure(f"{folder} cannot be loaded: {one_line(str(error))}"))


@functools.cache
def import_mindone() -> None:
    """Import mindone, which takes seconds, without the messages that it and transformers print.

    They advise installing libraries that are not needed here, print on import, draw progress bars,
    and repeat what batchgen reports itself.
    """
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mindone.diffusers
        import mindone.transformers
        import transformers
    for library in (mindone.diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what loading prints off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
