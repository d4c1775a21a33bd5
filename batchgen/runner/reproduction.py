"""`batchgen repro`: make an image again, in the batch it was made in, and compare the pixels."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchgen.adapters import adapter
from batchgen.config.device import DeviceConfig
from batchgen.config.job import ImageFormat, JobConfig
from batchgen.config.names import config_of_job, model_named
from batchgen.config.settings import Settings
from batchgen.errors import ConfigError, FolderError, ImageError
from batchgen.images import image_file
from batchgen.images.parameters import settings_of
from batchgen.ledger.reader import find_rows
from batchgen.model import weights
from batchgen.pipelines.factory import load
from batchgen.plan.requests import ImageRequest
from batchgen.runner.device_choice import resolved_device
from batchgen.runner.memory_ladder import Rung
from batchgen.storage.folder import JobFolder, is_dangling, no_job

_LOSSY = (f".{ImageFormat.jpeg.value}", ".jpeg")


@dataclass(frozen=True, slots=True)
class Original:
    """What is to be made again."""

    path: Path
    batch: list[ImageRequest]
    position: int
    config: JobConfig
    rung: Rung
    vae_float32: bool
    pixel_sha256: str | None
    """None where only the file is known."""
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How an image and its second making agree."""

    is_same: bool
    lines: list[str]


def original_in_job(folder: JobFolder, row_key: str, image_index: int = 0) -> Original:
    """Return an image of a job by its row key, with the batch it was made in."""
    content = folder.identity()
    if content is None:
        raise no_job(folder.root)
    of_row = find_rows(folder, "row_key", row_key)
    wanted = [row for row in of_row if row["image_index"] == image_index]
    if not wanted:
        raise FolderError(f"{folder.root} has no finished image {image_index} of row {row_key!r}.")
    row = wanted[0]
    batch, position, notes = _batch_of(row, find_rows(folder, "batch_id", row["batch_id"]))
    config = config_of_job(content)
    revision = weights.identity(config.model, resolved_device(config)).revision
    if revision != row["model_revision"]:
        notes.append(f"The model is another: {row['model_revision']} then, {revision} now.")
    found = adapter.identified(config.adapters)
    revisions = adapter.revisions_text(row["lora"], found)
    if revisions != row["lora_revisions"]:
        notes.append(f"An adapter is another: {row['lora_revisions']} then, {revisions} now.")
    return Original(
        path=folder.root / row["file_name"],
        batch=[_image(member) for member in batch],
        position=position,
        config=config,
        rung=Rung.from_text(row["rung"]),
        vae_float32=row["vae_float32"],
        pixel_sha256=row["pixel_sha256"],
        notes=notes,
    )


def original_of_file(path: Path) -> Original:
    """Return an image by its file: from its job where it lies in one, else from the file alone."""
    resolved = Path(os.path.realpath(path))  # `resolve` raises for a link that leads to itself
    for root in resolved.parents:
        folder = JobFolder(root)
        if folder.job_json.is_file():
            name = str(resolved.relative_to(root))
            for row in find_rows(folder, "file_name", name):
                return original_in_job(folder, row["row_key"], row["image_index"])
    return _original_alone(path)


def _original_alone(path: Path) -> Original:
    if is_dangling(path):
        raise no_job(path)
    try:
        text = image_file.parameters_of(path)
    except OSError as error:
        raise FolderError(f"{path} does not open as an image: {error}.") from error
    if text is None:
        raise FolderError(f"{path} has no settings inside; only images batchgen made have them.")
    try:
        settings, name = settings_of(text)
    except ImageError as error:
        raise FolderError(f"{path}: {error}.") from error
    try:
        model = model_named(name)
    except ConfigError as error:
        raise FolderError(f"{path} was made by a model of another name: {error}") from error
    if settings.lora:
        raise FolderError(
            f"{path} was made with adapters ({settings.lora}), and only its job knows their files: "
            "reproduce it in the job's folder."
        )
    image = ImageRequest("0", 0, 0, settings, "", 0, True, {})
    return Original(
        path=path,
        batch=[image],
        position=0,
        config=JobConfig(table=str(path), model=model, device=DeviceConfig()),
        rung=Rung(),
        vae_float32=False,
        pixel_sha256=None,
        notes=["Made alone, from the file's own settings: the batch it was made in is not known."],
    )


def _batch_of(
    row: dict[str, Any], of_batch: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], int, list[str]]:
    """Return the rows of a batch in their places, or the one row where others are missing."""
    members = {member["batch_position"]: member for member in of_batch}
    if len(members) == row["batch_size"]:
        return [members[at] for at in sorted(members)], row["batch_position"], []
    note = (
        f"Made alone: of the {row['batch_size']} images of its batch, {len(members)} are finished "
        "in that make-up, so the last bits may differ."
    )
    return [row], 0, [note]


def _image(row: dict[str, Any]) -> ImageRequest:
    return ImageRequest(
        row_key=row["row_key"],
        row_index=row["row_index"],
        image_index=row["image_index"],
        settings=Settings.from_columns(row),
        fingerprint=row["fingerprint"],
        number=row["row_index"],
        is_pending=True,
        carried={},
    )


def reproduce(original: Original) -> Comparison:
    """Make an image again and compare it with the one on disk. Loads the model."""
    config = original.config
    pipeline = load(
        config.model,
        config.device,
        resolved_device(config),
        adapter.identified(config.adapters),
    )
    try:
        decoding = original.rung.decoding(float32=original.vae_float32)
        generation = pipeline.generate(original.batch, decoding)
    finally:
        pipeline.close()
    pixels = generation.pictures[original.position].pixels
    return _compared(original, pixels)


def _compared(original: Original, pixels: NDArray[np.uint8]) -> Comparison:
    lines = [*original.notes, f"in a batch of {len(original.batch)}"]
    if original.pixel_sha256 == image_file.pixel_sha256(pixels):
        return Comparison(True, [*lines, f"{original.path}: the same pixels"])
    try:
        before = image_file.read_pixels(original.path)
    except OSError as error:
        return Comparison(False, [*lines, f"{original.path} does not open ({error}): other pixels"])
    if before.shape == pixels.shape and (before == pixels).all():
        return Comparison(True, [*lines, f"{original.path}: the same pixels"])
    return Comparison(False, [*lines, *_distance(original.path, before, pixels)])


def _distance(path: Path, before: NDArray[np.uint8], now: NDArray[np.uint8]) -> Iterator[str]:
    if before.shape != now.shape:
        yield f"{path}: another size, {before.shape[1::-1]} then, {now.shape[1::-1]} now"
        return
    difference = before.astype(np.int16) - now.astype(np.int16)
    psnr = 10 * math.log10(255**2 / float(np.mean(difference.astype(np.float64) ** 2)))
    share = float(np.mean((difference != 0).any(axis=2)))
    yield (
        f"{path}: other pixels: {share:.2%} of them differ, by {int(np.abs(difference).max())} of "
        f"255 at most, PSNR {psnr:.1f} dB"
    )
    if path.suffix in _LOSSY:
        yield "A JPEG file never holds the exact pixels, so some of this is the format's."
