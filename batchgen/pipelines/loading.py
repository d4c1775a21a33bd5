"""Load the SDXL pipeline of a folder in diffusers' layout, and refuse one with holes in it."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batchgen.diagnosis import one_line, with_cure
from batchgen.errors import DeviceError, DeviceOutOfMemory, ModelError
from batchgen.models import Dtype
from batchgen.pipelines import failures
from batchgen.pipelines.machine import Machine

SHOWN = 3
"""How many missing tensors a message names."""


def loaded(machine: Machine, folder: Path, variant: str | None, dtypes: tuple[Dtype, Dtype]) -> Any:
    """The pipeline of a folder that `weights.check` has found whole; `dtypes` as in the identity.

    Raises `ModelError` for files that do not fill the model: mindone takes a missing tensor for a
    reason to draw it at random.
    """
    import_mindone()
    from mindone.diffusers import StableDiffusionXLPipeline

    main, vae = (getattr(machine.ms, dtype.value) for dtype in dtypes)
    options = {"variant": variant, "use_safetensors": True, "local_files_only": True}
    try:
        parts = {
            name: _component(name, kind, folder, options | {"mindspore_dtype": dtype})
            for name, kind, dtype in _classes(main, vae)
        }
        with _quiet():
            pipe = StableDiffusionXLPipeline.from_pretrained(
                str(folder), add_watermarker=False, mindspore_dtype={"vae": vae, "default": main},
                **options, **parts,
            )  # fmt: skip
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise _refusal(error, folder) from error
    pipe.set_progress_bar_config(disable=True)
    if machine.is_ascend:
        # Else the attention of a float32 VAE is computed in float16 after all.
        pipe.vae.set_flash_attention_force_cast_dtype(None)
    return pipe


def _classes(main: Any, vae: Any) -> Iterator[tuple[str, Any, Any]]:
    from mindone.diffusers import AutoencoderKL, UNet2DConditionModel
    from mindone.transformers import CLIPTextModel, CLIPTextModelWithProjection

    yield "text_encoder", CLIPTextModel, main
    yield "text_encoder_2", CLIPTextModelWithProjection, main
    yield "unet", UNet2DConditionModel, main
    yield "vae", AutoencoderKL, vae


def _component(name: str, kind: Any, folder: Path, options: dict[str, Any]) -> Any:
    with _quiet():
        model, report = kind.from_pretrained(
            str(folder), subfolder=name, output_loading_info=True, **options
        )
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise ModelError(
            f"{folder / name} lacks tensors of {kind.__name__}: "
            f"{', '.join(missing[:SHOWN])}{more}. "
            "They would be drawn at random. Fetch the files again: `batchgen download`."
        )
    return model


def _refusal(error: Exception, folder: Path) -> ModelError | DeviceError:
    known = failures.image_error(str(error))
    if isinstance(known, DeviceOutOfMemory):
        return DeviceError(f"The model in {folder} does not fit on the device: {known}")
    if known is not None:
        return DeviceError(str(known))
    return ModelError(with_cure(f"{folder} cannot be loaded: {one_line(str(error))}"))


@functools.cache
def import_mindone() -> None:
    """Import mindone, which takes seconds, without what it and transformers have to say.

    They advise of libraries that are not needed here, print on import, draw progress bars, and
    repeat in their own words what batchgen reports itself.
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
