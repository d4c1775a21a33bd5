"""Pictures to files: encode, put the settings inside, write atomically; find blank ones."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from batchgen.config.job import ImageFormat, ImagesConfig
from batchgen.config.schedulers import SCHEDULERS
from batchgen.errors import ImageError
from batchgen.storage.atomic import storage_errors, write_atomically

if TYPE_CHECKING:
    from batchgen.plan.batches import Settings

RNG = "numpy-PCG64"
"""Where the noise comes from, as metadata and `parameters` name it."""

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_EXIF_LIMIT_BYTES = 65_000
_PAIR = re.compile(r'([\w ]+): ("(?:\\.|[^\\"])*"|[^,]*)(?:, |$)')
_GUARD = "\u200b"
"""Zero-width space: keeps a prompt that begins like the negative one from being read as it."""
_FIRST_LAYER = 2
"""Viewers count layers from the last, 1; SDXL's own, which diffusers calls 0, is the one before."""
_RARE = {
    "timestep_spacing": "Timestep spacing",
    "guidance_rescale": "CFG rescale",
    "cfg_cutoff": "CFG cutoff",
    "long_prompt": "Long prompt",
    "weighting": "Prompt weighting",
}
"""Settings that are named where they are not the default."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Saved:
    """An image that is on disk."""

    pixel_sha256: str
    file_sha256: str
    size_bytes: int


def blank_reason(pixels: NDArray[np.uint8], *, is_finite: bool) -> str | None:
    """Say why a picture is no picture, or None; `pixels` is RGB, (height, width, 3) uint8."""
    if not is_finite:
        return "the VAE gave NaN or infinity"
    if _has_one_colour(pixels):
        colour = tuple(int(channel) for channel in pixels[0, 0])
        return "it is all black" if not any(colour) else f"it is all one colour, RGB {colour}"
    return None


def _has_one_colour(pixels: NDArray[np.uint8]) -> bool:
    """Whether all pixels are equal; a few rows tell for nearly every picture, in no time."""
    first = pixels[0, 0]
    few = pixels[:: max(1, len(pixels) // 8)]
    return bool((few == first).all() and (pixels == first).all())


def parameters_text(
    settings: Settings, model: str, model_revision: str, lora_revisions: str = ""
) -> str:
    """Return the settings as viewers of generated images read them.

    The prompt, a line of the negative prompt if there is one, a line of `Key: value` pairs; the
    format of AUTOMATIC1111's web UI. Line breaks and control characters inside a prompt become
    spaces here, so that no prompt can pass for settings; the metadata keeps them.
    """
    lines = [_one_line(settings.prompt)]
    if settings.negative_prompt:
        lines.append(f"Negative prompt: {_one_line(settings.negative_prompt)}")
    pairs = {
        "Steps": settings.steps,
        "Sampler": SCHEDULERS[settings.scheduler].label,
        "CFG scale": settings.guidance_scale,
        "Seed": settings.seed,
        "Size": f"{settings.width}x{settings.height}",
        "Model hash": model_revision[:10],
        "Model": model,
        "RNG source": RNG,
    }
    if settings.prompt_2:
        pairs["Prompt 2"] = _one_line(settings.prompt_2)
    if settings.clip_skip:
        pairs["Clip skip"] = settings.clip_skip + _FIRST_LAYER
    for name, default in _rare_defaults(type(settings)).items():
        if (value := getattr(settings, name)) != default:
            pairs[_RARE[name]] = value
    if settings.lora:
        pairs["Lora"] = settings.lora
        pairs["Lora hashes"] = _lora_hashes(lora_revisions)
    lines.append(", ".join(f"{key}: {_quoted(str(value))}" for key, value in pairs.items()))
    return "\n".join(lines)


def _rare_defaults(kind: type[Settings]) -> dict[str, Any]:
    return {f.name: f.default for f in dataclasses.fields(kind) if f.name in _RARE}


def _lora_hashes(revisions: str) -> str:
    """Return `film: 31e35c80fc, ...`, as the web UI writes them, of `film:<16 digits> ...`."""
    pairs = (pair.partition(":") for pair in revisions.split())
    return ", ".join(f"{name}: {digits[:10]}" for name, _, digits in pairs)


def _one_line(text: str) -> str:
    line = _CONTROL.sub(" ", text).strip()
    return f"{_GUARD}{line}" if line.startswith("Negative prompt:") else line


def _quoted(value: str) -> str:
    is_plain = not any(character in value for character in ',:\n"')
    return value if is_plain else json.dumps(value, ensure_ascii=False)


def save(path: Path, pixels: NDArray[np.uint8], parameters: str, config: ImagesConfig) -> Saved:
    """Write a picture with its settings inside; the same picture gives the same bytes.

    The file appears whole, synced to disk, or not at all. Raises `StorageError`.
    """
    content = encode(pixels, parameters, config)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return Saved(
        pixel_sha256=pixel_sha256(pixels),
        file_sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


def pixel_sha256(pixels: NDArray[np.uint8]) -> str:
    """Return the SHA-256 of the RGB bytes, row by row; it outlives versions of the encoder."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def encode(pixels: NDArray[np.uint8], parameters: str, config: ImagesConfig) -> bytes:
    """Return the bytes of an image file; `pixels` is RGB, (height, width, 3) uint8."""
    picture = PillowImage.fromarray(pixels)
    buffer = io.BytesIO()
    if config.format is ImageFormat.png:
        info = PngInfo()
        info.add_text("parameters", parameters)
        picture.save(buffer, "PNG", compress_level=config.compress_level, pnginfo=info)
    elif config.format is ImageFormat.jpeg:
        exif = _exif(parameters)
        picture.save(buffer, "JPEG", quality=config.quality, subsampling=0, exif=exif)
    else:
        lossless = config.lossless
        quality = 0 if lossless else config.quality
        exif = _exif(parameters)
        method = 0 if lossless else 4
        picture.save(buffer, "WEBP", lossless=lossless, quality=quality, method=method, exif=exif)
    return buffer.getvalue()


def _exif(parameters: str) -> bytes:
    exif = PillowImage.Exif()
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = b"UNICODE\x00" + parameters.encode("utf-16-be")
    content = exif.tobytes()
    if len(content) > _EXIF_LIMIT_BYTES:
        raise ImageError(
            f"the settings take {len(content):,} bytes and EXIF has room for "
            f"{_EXIF_LIMIT_BYTES:,}: shorten the prompt or use images=png."
        )
    return content


def parameters_of(path: Path) -> str | None:
    """Return the settings text inside an image file, None if there is none."""
    with PillowImage.open(path) as picture:
        if picture.format == "PNG":
            picture.load()
            text = getattr(picture, "text", {}).get("parameters")
            return None if text is None else str(text)
        comment = picture.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    if not isinstance(comment, bytes):
        return None
    return comment.removeprefix(b"UNICODE\x00").decode("utf-16-be")


def settings_of(parameters: str) -> tuple[Settings, str]:
    """Return the settings and the model's name behind a `parameters` text of ours.

    Line breaks in a prompt became spaces, so only one-line prompts come back exactly. Raises
    `ImageError` for a text that says too little.
    """
    from batchgen.plan.batches import Settings

    *texts, last = parameters.split("\n")
    pairs = {key: _unquoted(value) for key, value in _PAIR.findall(last)}
    labels = {scheduler.label: name for name, scheduler in SCHEDULERS.items()}
    try:
        width, _, height = pairs["Size"].partition("x")
        settings = Settings(
            prompt=texts[0].removeprefix(_GUARD),
            prompt_2=pairs.get("Prompt 2"),
            negative_prompt="".join(texts[1:])
            .removeprefix("Negative prompt: ")
            .removeprefix(_GUARD),
            seed=int(pairs["Seed"]),
            steps=int(pairs["Steps"]),
            guidance_scale=float(pairs["CFG scale"]),
            width=int(width),
            height=int(height),
            scheduler=labels[pairs["Sampler"]],
            clip_skip=int(pairs.get("Clip skip", _FIRST_LAYER)) - _FIRST_LAYER,
            **{
                name: type(default)(pairs[_RARE[name]])
                for name, default in _rare_defaults(Settings).items()
                if _RARE[name] in pairs
            },
            lora=pairs.get("Lora", ""),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise ImageError(f"the settings inside cannot be read: {parameters[:60]!r}") from error
    return settings, pairs.get("Model", "")


def _unquoted(value: str) -> str:
    return str(json.loads(value)) if value.startswith('"') else value


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Return an image file's pixels: RGB, (height, width, 3) uint8."""
    with PillowImage.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
