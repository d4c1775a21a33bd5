"""SDXL through `mindone.diffusers`, on an NPU or, for small models, on a CPU.

Text is encoded and latents are decoded here, around mindone's denoising loop: embeddings are
kept from image to image, the three parts are timed, and decoding has its rungs. The pixels are
those that mindone's own call gives.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchgen import weights
from batchgen.config import DeviceConfig, DeviceKind
from batchgen.model_files import ModelFiles
from batchgen.models import ModelConfig, SdxlModel
from batchgen.pipelines import PLAIN, Decoding, Generation, Picture, symptoms
from batchgen.pipelines.loading import import_mindone, loaded
from batchgen.pipelines.machine import Machine
from batchgen.pipelines.schedulers import scheduler
from batchgen.plan.batches import Image, Settings

logger = logging.getLogger(__name__)

KEPT_EMBEDDINGS = 256
"""Prompts whose embeddings stay on the device: 0.3 MiB each for SDXL in float16."""

SHOWN_CHARS = 80
"""How much of a long prompt a warning quotes."""

TILE = 64
"""Largest side of a decoded tile, in latents: 512 pixels."""


class SdxlPipeline:
    """A loaded SDXL; see `pipelines.Pipeline` for the contract."""

    def __init__(self, model: ModelConfig, device: DeviceConfig, kind: DeviceKind) -> None:
        """Start the device and load the model; takes seconds to minutes.

        Raises `DeviceError` for a machine without the device, `ModelError` for the files.
        """
        self._machine = Machine(device, kind, one_core=not model.full_size)
        with self._machine.at_work():
            import_mindone()
            files = _files(model)
            files.check()
            self.pipe = loaded(self._machine, files, weights.dtypes(model, kind))
            """The `StableDiffusionXLPipeline` itself."""
        vae, ms = self.pipe.vae, self._machine.ms
        self._upcasts = bool(vae.dtype == ms.float16 and vae.config.force_upcast)
        self.vae_is_float32 = self._upcasts or bool(vae.dtype == ms.float32)
        """Whether latents are decoded in float32 anyhow: force_upcast does it for float16."""
        self._scheduler_config = self.pipe.scheduler.config
        self._embeddings: OrderedDict[tuple[str, str | None], tuple[Any, Any]] = OrderedDict()
        self.encoded = 0
        """How many prompts went through the text encoders so far."""

    def generate(self, images: Sequence[Image], decoding: Decoding = PLAIN) -> Generation:
        """Make the pictures of one batch; its images agree in guidance scale as well."""
        try:
            with self._machine.at_work():
                return self._generation([image.settings for image in images], decoding)
        except Exception as error:
            # The failed call's frames hold its tensors, and so the memory the next try needs.
            traceback.clear_frames(error.__traceback__)
            # Taken out now, or a later batch would be blamed for them.
            stragglers = self._machine.stragglers()
            self._machine.empty_cache()
            for straggler in stragglers:
                logger.warning("The failed batch had another error: %s", straggler)
            text = "\n".join(map(str, (error, *stragglers)))
            known = symptoms.image_error(text)
            if known is not None:
                raise known from error
            raise

    def at_work(self) -> AbstractContextManager[None]:
        """Run a block where `generate` runs, for whoever calls `pipe` directly."""
        return self._machine.at_work()

    def close(self) -> None:
        """Give the device's memory back."""
        self._embeddings.clear()
        del self.pipe
        self._machine.empty_cache()

    def _generation(self, settings: list[Settings], decoding: Decoding) -> Generation:
        self._machine.reset_peak_memory()
        clock = _Clock(self._machine)
        before = self.encoded
        embeddings = self._embedded(settings)
        lap_s = clock.lap()
        encode_s = lap_s if self.encoded > before else 0.0
        latents = self._denoised(settings, embeddings)
        denoise_s = clock.lap()
        pictures = self._decoded(latents, decoding)
        decode_s = clock.lap()
        peak = self._machine.peak_memory_bytes()
        return Generation(pictures, encode_s, denoise_s, decode_s, peak)

    def _embedded(self, settings: list[Settings]) -> dict[str, Any]:
        """Arguments of the pipeline's call; each prompt is encoded alone, not with neighbours."""
        mint = self._machine.ms.mint
        texts = [self._embedding(one.prompt, one.prompt_2 or None) for one in settings]
        arguments = {
            "prompt_embeds": mint.cat([text[0] for text in texts], dim=0),
            "pooled_prompt_embeds": mint.cat([text[1] for text in texts], dim=0),
        }
        if settings[0].guidance_scale > 1:
            against = [
                self._negative(one.negative_prompt, text)
                for one, text in zip(settings, texts, strict=True)
            ]
            arguments |= {
                "negative_prompt_embeds": mint.cat([text[0] for text in against], dim=0),
                "negative_pooled_prompt_embeds": mint.cat([text[1] for text in against], dim=0),
            }
        return arguments

    def _negative(self, prompt: str, like: tuple[Any, Any]) -> tuple[Any, Any]:
        """What guidance leads away from; SDXL was trained with zeros for no prompt at all."""
        if prompt or not self.pipe.config.force_zeros_for_empty_prompt:
            return self._embedding(prompt, None)
        zeros_like = self._machine.ms.mint.zeros_like
        return zeros_like(like[0]), zeros_like(like[1])

    def _embedding(self, prompt: str, prompt_2: str | None) -> tuple[Any, Any]:
        """Embeddings of both text encoders, and the pooled ones; the latest are kept."""
        key = (prompt, prompt_2)
        if key in self._embeddings:
            self._embeddings.move_to_end(key)
            return self._embeddings[key]
        for text, tokenizer in {
            prompt: self.pipe.tokenizer,
            prompt_2 or prompt: self.pipe.tokenizer_2,
        }.items():
            warn_if_cut(text, tokenizer)
        embeds, _, pooled, _ = self.pipe.encode_prompt(
            prompt, prompt_2, do_classifier_free_guidance=False
        )
        self.encoded += 1
        self._embeddings[key] = (embeds, pooled)
        if len(self._embeddings) > KEPT_EMBEDDINGS:
            self._embeddings.popitem(last=False)
        return embeds, pooled

    def _denoised(self, settings: list[Settings], embeddings: dict[str, Any]) -> Any:
        first = settings[0]
        self.pipe.scheduler = scheduler(first.scheduler, self._scheduler_config)
        return self.pipe(
            **embeddings,
            num_inference_steps=first.steps,
            guidance_scale=first.guidance_scale,
            width=first.width,
            height=first.height,
            generator=[np.random.default_rng(one.seed) for one in settings],
            output_type="latent",
        )[0]

    def _decoded(self, latents: Any, decoding: Decoding) -> list[Picture]:
        floats, finite = self._floats(latents, decoding)
        return [
            Picture(_pixels(one), bool(is_finite))
            for one, is_finite in zip(floats, finite, strict=True)
        ]

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
        """Set the VAE up for one call, and back to plain afterwards."""
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


def _files(model: ModelConfig) -> ModelFiles:
    if isinstance(model, SdxlModel):
        return weights.find(model)
    from batchgen.pipelines import demo

    return ModelFiles(demo.folder())


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


def warn_if_cut(prompt: str, tokenizer: Any) -> None:
    """Log a warning if the model does not see the end of a prompt, and from which word on."""
    limit = tokenizer.model_max_length
    tokens = tokenizer(prompt, verbose=False).input_ids
    if len(tokens) <= limit:
        return
    seen, unseen = (
        tokenizer.decode(part, skip_special_tokens=True).split()
        for part in (tokens[: limit - 1], tokens[limit - 1 :])
    )
    is_whole = tokenizer.convert_ids_to_tokens(tokens[limit - 2]).endswith("</w>")
    word = unseen[0] if is_whole or not seen else seen[-1] + unseen[0]
    logger.warning(
        "The prompt %r is cut after %d tokens: the model sees nothing from %r on.",
        prompt if len(prompt) <= SHOWN_CHARS else prompt[: SHOWN_CHARS - 1] + "…",
        limit,
        word,
    )


def _denormalised(ms: Any, latents: Any, config: Any) -> Any:
    mean, std = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
    if mean is None or std is None:
        return latents / config.scaling_factor
    mean, std = (ms.tensor(part).view(1, 4, 1, 1).to(latents.dtype) for part in (mean, std))
    return latents * std / config.scaling_factor + mean


def _pixels(floats: NDArray[np.float32]) -> NDArray[np.uint8]:
    """8-bit pixels of values in [0, 1], rounded as diffusers does; what is no number becomes 0."""
    return (np.nan_to_num(floats) * 255).round().astype(np.uint8)
