"""`batchgen repro`: the same pixels, or by how much they differ."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import RunJob, WritePrompts
from PIL import Image as PillowImage

from batchgen.config.job import ImagesConfig
from batchgen.config.models import FakeModel
from batchgen.config.settings import Settings
from batchgen.errors import FolderError
from batchgen.images.image_file import save
from batchgen.images.parameters import parameters_text
from batchgen.runner.reproduction import original_in_job, original_of_file, reproduce
from batchgen.storage.folder import JobFolder


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp"])
def test_an_image_is_made_again_in_its_batch(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, suffix: str
) -> None:
    """With a model that minds its batch, in every format."""
    prompts(5)
    run_job(model=FakeModel(batch_sensitive=True), batch_size=3, images=suffix)
    original = original_in_job(folder, "k1")
    assert (len(original.batch), original.position) == (3, 1)
    comparison = reproduce(original)
    assert comparison.is_same
    assert comparison.lines == ["in a batch of 3", f"{original.path}: the same pixels"]


def test_a_file_of_a_job_is_found_in_its_batch(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """The path alone leads to job and row."""
    prompts(4)
    run_job(model=FakeModel(batch_sensitive=True), batch_size=2)
    original = original_of_file(folder.root / folder.image_name(3, 0, "png"))
    assert len(original.batch) == 2
    assert reproduce(original).is_same


def test_a_lone_file_is_made_alone_and_says_so(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, tmp_path: Path
) -> None:
    """Settings and model come from the text inside."""
    prompts(2)
    run_job()
    lone = tmp_path / "elsewhere.png"
    shutil.copy(folder.root / folder.image_name(1, 0, "png"), lone)
    comparison = reproduce(original_of_file(lone))
    assert comparison.is_same
    assert "batch it was made in is not known" in comparison.lines[0]


def test_a_lone_file_of_any_model_with_a_name_is_known(tmp_path: Path) -> None:
    """sdxl-turbo has no class of its own; its name is a file of conf/model like all others."""
    settings = Settings(prompt="a cat", prompt_2=None, seed=1, width=64, height=64)
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    for name in ("sdxl-turbo", "nosuch"):
        text = parameters_text(settings, name, "0" * 16)
        save(tmp_path / f"{name}.png", pixels, text, ImagesConfig())
    original = original_of_file(tmp_path / "sdxl-turbo.png")
    assert (original.config.model.name, original.config.model.width) == ("sdxl-turbo", 512)
    with pytest.raises(FolderError, match="model='nosuch' is not one of demo"):
        original_of_file(tmp_path / "nosuch.png")


def test_an_image_made_alone_of_a_batch_says_by_how_much_it_differs(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """A model that minds its batch gives other pixels to a lone file."""
    prompts(2)
    run_job(model=FakeModel(batch_sensitive=True), batch_size=2)
    original = original_in_job(folder, "k0")
    alone = replace(original, batch=original.batch[:1], pixel_sha256=None)
    comparison = reproduce(alone)
    assert not comparison.is_same
    assert re.search(r"other pixels: .*% of them differ, by .* PSNR", comparison.lines[-1])


def test_a_row_that_is_not_there_is_refused(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder
) -> None:
    """The key is named."""
    prompts(1)
    run_job()
    with pytest.raises(FolderError, match="no finished image 0 of row 'nobody'"):
        original_in_job(folder, "nobody")


def test_a_picture_from_elsewhere_is_refused(tmp_path: Path) -> None:
    """It has no settings inside."""
    path = tmp_path / "photo.png"
    PillowImage.new("RGB", (8, 8)).save(path)
    with pytest.raises(FolderError, match="has no settings inside"):
        original_of_file(path)


@pytest.mark.parametrize("name", ["two-lines.csv", "guidance-float32.parquet"])
def test_a_lone_file_has_all_of_its_settings(
    name: str, run_job: RunJob, folder: JobFolder, tmp_path: Path
) -> None:
    """Prompts of several lines, and numbers that came from a float32."""
    field = Path(__file__).parents[1] / "samples" / "field"
    table = shutil.copy(field / name, tmp_path / f"t{Path(name).suffix}")
    assert run_job(table=table).n_made == 1
    lone = tmp_path / "elsewhere.png"
    shutil.copy(folder.root / folder.image_name(0, 0, "png"), lone)
    assert reproduce(original_of_file(lone)).is_same
