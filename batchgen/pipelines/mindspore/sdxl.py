"""SDXL through `mindone.diffusers`, on an NPU or, for small models, on a CPU.

Text is encoded and latents are decoded here, around mindone's denoising loop: embeddings are
kept from image to image, the three parts are timed, and decoding has its rungs. The pixels are
those that mindone's own call gives.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchgen.adapters.adapter import Adapter
from batchgen.config.device import DeviceConfig, DeviceKind
from batchgen.config.models import ModelConfig
from batchgen.config.settings import Settings
from batchgen.faults import device_errors
from batchgen.model import weights
from batchgen.pipelines.base import NO_ADAPTERS, PLAIN, Decoding, Generation, Picture
from batchgen.pipelines.mindspore.loading import import_mindone, loaded
from batchgen.pipelines.mindspore.lora_layers import Adapters
from batchgen.pipelines.mindspore.machine import Machine
from batchgen.pipelines.mindspore.prompts import Prompt, Prompts
from batchgen.pipelines.mindspore.scheduler import scheduler
from batchgen.pipelines.mindspore.unet_cache import unet_cached
from batchgen.plan.requests import ImageRequest

logger = logging.getLogger(__name__)

TILE = 64
"""Largest side of a decoded tile, in latents: 512 pixels."""

_HALVED = ("prompt_embeds", "add_text_embeds", "add_time_ids")
"""What the denoising loop holds twice while guidance is on."""


class SdxlPipeline:
    """A loaded SDXL; see `pipelines.Pipeline` for the contract."""

    def __init__(
        self,
        model: ModelConfig,
        device: DeviceConfig,
        kind: DeviceKind,
        adapters: Mapping[str, Adapter] = NO_ADAPTERS,
    ) -> None:
        """Start the device and load the model; takes seconds to minutes.

        Raises `DeviceError` for a machine without the device, `ModelError` for the files, those of
        adapters included.
        """
        self._machine = Machine(device, kind, one_core=not model.full_size)
        with self._machine.at_work():
            import_mindone()
            files = weights.find(model)
            files.check()
            self.pipe = loaded(self._machine, files, weights.dtypes(model, kind))
            """The `StableDiffusionXLPipeline` itself."""
            self._adapters = Adapters(self.pipe, self._machine.ms, adapters)
        vae, ms = self.pipe.vae, self._machine.ms
        self._upcasts = bool(vae.dtype == ms.float16 and vae.config.force_upcast)
        self.vae_is_float32 = self._upcasts or bool(vae.dtype == ms.float32)
        """Whether latents are decoded in float32 anyhow: force_upcast does it for float16."""
        self._scheduler_config = self.pipe.scheduler.config
        self._has_zero_snr = files.schedule().has_zero_snr
        self.prompts = Prompts(self.pipe, ms)
        self._shapes: set[tuple[object, ...]] = set()

    def generate(self, images: Sequence[ImageRequest], decoding: Decoding = PLAIN) -> Generation:
        """Make the pictures of one batch; its images agree in guidance scale as well."""
        try:
            with self._machine.at_work():
                return self._generation([image.settings for image in images], decoding)
        except Exception as error:
            # The failed call's frames hold its tensors, and so the memory the next try needs.
            traceback.clear_frames(error.__traceback__)
            # Collected now; otherwise a later batch would raise them.
            stragglers = self._machine.stragglers()
            self._machine.empty_cache()
            for straggler in stragglers:
                logger.warning("The failed batch had another error: %s", straggler)
            text = "\n".join(map(str, (error, *stragglers)))
            known = device_errors.image_error(text)
            if known is not None:
                raise known from error
            raise

    def at_work(self) -> AbstractContextManager[None]:
        """Run a block where `generate` runs, for callers of `pipe` itself."""
        return self._machine.at_work()

    def close(self) -> None:
        """Give the device's memory back."""
        # All that holds the model goes first, or there is nothing to give back yet.
        del self.pipe, self._adapters, self.prompts
        self._machine.empty_cache()

    def _generation(self, settings: list[Settings], decoding: Decoding) -> Generation:
        self._machine.reset_peak_memory()
        self._adapters.use(settings[0].lora)
        clock = _Clock(self._machine)
        before = self.prompts.encoded
        prompts = [self.prompts.prompt(one, self._adapters.on_text) for one in settings]
        lap_s = clock.lap()
        encode_s = lap_s if self.prompts.encoded > before else 0.0
        latents = self._latents(settings, prompts)
        denoise_s = clock.lap()
        floats, finite = self._floats(latents, decoding)
        pictures = [
            Picture(_pixels(one), bool(ok), prompt.towards.token_count, prompt.truncated)
            for one, ok, prompt in zip(floats, finite, prompts, strict=True)
        ]
        decode_s = clock.lap()
        peak = self._machine.peak_memory_bytes()
        shapes = _shapes(settings[0], prompts, decoding)
        is_first = not shapes <= self._shapes
        self._shapes |= shapes
        return Generation(pictures, encode_s, denoise_s, decode_s, peak, is_first)

    def _latents(self, settings: list[Settings], prompts: list[Prompt]) -> Any:
        """Denoise a batch; prompts of unequal lengths one length after the other.

        Padded to the longest of its batch, a prompt would make another picture beside others.
        """
        lengths = [prompt.towards.length for prompt in prompts]
        parts: dict[int, Any] = {}
        for length in dict.fromkeys(lengths):
            members = [at for at, own in enumerate(lengths) if own == length]
            latents = self._denoised([settings[at] for at in members],
                                     [prompts[at] for at in members])  # fmt: skip
            if len(members) == len(settings):
                return latents
            parts |= {at: latents[n : n + 1] for n, at in enumerate(members)}
        return self._machine.ms.mint.cat([parts[at] for at in range(len(settings))], dim=0)

    def _denoised(self, settings: list[Settings], prompts: list[Prompt]) -> Any:
        first = settings[0]
        self.pipe.scheduler = scheduler(
            first.scheduler,
            self._scheduler_config,
            first.timestep_spacing,
            has_zero_snr=self._has_zero_snr,
        )
        with unet_cached(self.pipe, first.unet_cache, first.unet_cache_branch):
            return self.pipe(
                **self.prompts.arguments(prompts),
                num_inference_steps=first.steps,
                guidance_scale=first.guidance_scale,
                guidance_rescale=first.guidance_rescale,
                callback_on_step_end=_cutoff(first.cfg_cutoff) if first.cfg_cutoff < 1 else None,
                callback_on_step_end_tensor_inputs=list(_HALVED),
                width=first.width,
                height=first.height,
                generator=[np.random.default_rng(one.seed) for one in settings],
                output_type="latent",
            )[0]

    def _floats(
        self, latents: Any, decoding: Decoding
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values in [0, 1], (count, height, width, 3), as mindone decodes them, and which are."""
        vae = self.pipe.vae
        with self._rungs(latents, decoding):
            scaled = _denormalised(self._machine.ms, latents, vae.config).to(vae.dtype)
            image = vae.decode(scaled, return_dict=False)[0]
            finite = np.isfinite(image.float().asnumpy()).all(axis=(1, 2, 3))
            # After the check: rounding into [0, 1] makes an infinity look like plain white.
            floats = self.pipe.image_processor.postprocess(image, output_type="np")
        return floats, finite

    @contextmanager
    def _rungs(self, latents: Any, decoding: Decoding) -> Iterator[None]:
        """Configure the VAE for one call, and restore it afterwards."""
        vae, float32 = self.pipe.vae, self._machine.ms.float32
        dtype = vae.dtype
        is_cast = (decoding.float32 or self._upcasts) and dtype != float32
        vae.use_slicing, vae.use_tiling = decoding.slicing, decoding.tiling
        vae.tile_latent_min_size = tile_size(*latents.shape[-2:])
        vae.tile_sample_min_size = vae.tile_latent_min_size * self.pipe.vae_scale_factor
        try:
            if is_cast:
                vae.to(dtype=float32)
            yield
        finally:
            vae.use_slicing = vae.use_tiling = False
            if is_cast:
                vae.to(dtype=dtype)


class _Clock:
    """Seconds between laps, each taken when the device has finished."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._last = time.perf_counter()

    def lap(self) -> float:
        self._machine.synchronize()
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        return passed


def tile_size(height: int, width: int) -> int:
    """Side of a tile that really splits latents of this size: half the longer side, at most 64.

    A multiple of four, so that an overlap of a quarter is a whole number of latents.
    """
    return max(4, min(TILE, max(height, width) // 2 // 4 * 4))


def _shapes(first: Settings, prompts: list[Prompt], decoding: Decoding) -> set[tuple[object, ...]]:
    """What decides the shapes of tensors, and so which kernels are needed: one a call of the UNet.

    Adapters too, for their first use reads their files.
    """
    lengths = Counter(prompt.towards.length for prompt in prompts)
    alike = (
        first.width, first.height, first.guidance_scale > 1, first.cfg_cutoff < 1, first.lora,
        decoding,
    )  # fmt: skip
    return {(*alike, length, count) for length, count in lengths.items()}


def _cutoff(share: float) -> Callable[..., dict[str, Any]]:
    """A callback of the denoising loop that ends guidance after a share of the steps, one at least.

    mindone's own `SDXLCFGCutoffCallback` keeps the embeddings of the batch's last image for all.
    """

    def after_step(pipe: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        # Schedulers of second order call the UNet twice a step, but for the last.
        order = pipe.scheduler.order
        last = order * max(1, round(share * -(-pipe.num_timesteps // order)))
        if step + 1 != last or not pipe.do_classifier_free_guidance:
            return tensors
        pipe._guidance_scale = 0.0  # noqa: SLF001  (as mindone's own callback does)
        # The first half is what was guided away from.
        return {name: tensor[tensor.shape[0] // 2 :] for name, tensor in tensors.items()}

    return after_step


def _denormalised(ms: Any, latents: Any, config: Any) -> Any:
    mean, std = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
    if mean is None or std is None:
        return latents / config.scaling_factor
    mean, std = (ms.tensor(part).view(1, 4, 1, 1).to(latents.dtype) for part in (mean, std))
    return latents * std / config.scaling_factor + mean


def _pixels(floats: NDArray[np.float32]) -> NDArray[np.uint8]:
    """8-bit pixels of values in [0, 1], rounded as diffusers does; NaN becomes 0."""
    return (np.nan_to_num(floats) * 255).round().astype(np.uint8)
