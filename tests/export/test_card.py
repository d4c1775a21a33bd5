"""What a dataset card says, and who reads it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from conftest import RunJob, WritePrompts
from exports import Ask

from batchgen.cli.main import main
from batchgen.config.models import DemoModel, SdxlModel
from batchgen.export.card import NAME, _licence
from batchgen.storage.folder import JobFolder


@pytest.mark.parametrize("layout", ["webdataset", "parquet", "imagefolder"])
def test_datasets_reads_an_export_by_its_card(ask: Ask, layout: str) -> None:
    """The folder alone is named, as one that is uploaded to a hub."""
    import datasets

    ask(layout)
    rows = datasets.load_dataset(
        str(ask.out), split="train", cache_dir=str(ask.out.parent / "cache")
    )
    assert len(rows) == 8
    assert rows[3]["png" if layout == "webdataset" else "image"].size == (64, 64)


def test_a_card_says_counts_columns_and_licence(ask: Ask) -> None:
    """Columns of ours with their meaning."""
    ask("parquet", columns=["seed", "note"])
    said = (ask.out / NAME).read_text()
    assert "\n8 images of 4 rows of 1 job, made by batchgen and laid out as `parquet`.\n" in said
    assert "\n- `fake`: has no weights.\n" in said
    assert "\n| `seed` | int64 | seed of the image's own noise generator" in said
    assert "\n| `note` | string | of the prompt table |\n" in said
    assert "latency_s" not in said


def test_the_commands_of_a_card_make_the_export_again(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, in another place."""
    monkeypatch.chdir(tmp_path)
    ask("webdataset", where="image_index = 0", columns=["seed", "text"])
    run, export = [
        shlex.split(line)
        for line in (ask.out / NAME).read_text().splitlines()
        if line.startswith("    batchgen")
    ]
    ask.job.root.rename(tmp_path / "away")
    assert main(run[1:]) == 0
    assert main([word.replace("OUT", "again") for word in export[1:]]) == 0
    shard = "00000.tar"
    assert (tmp_path / "again" / shard).read_bytes() == (ask.out / shard).read_bytes()


def test_the_licence_of_the_weights_is_named() -> None:
    """What batchgen cannot know is said."""
    assert _licence(SdxlModel()).startswith("CreativeML Open RAIL++-M")
    assert _licence(DemoModel()) == "comes with batchgen, Apache-2.0."
    mine = SdxlModel(name="mine", path="/models/mine.safetensors")
    assert _licence(mine) == "the licence of mine.safetensors, which batchgen does not know."
    turbo = SdxlModel(hub_id="AI-ModelScope/sdxl-turbo", huggingface_id="stabilityai/sdxl-turbo")
    assert "stabilityai/sdxl-turbo: see its model card" in _licence(turbo)


def test_a_layout_that_takes_each_file_for_a_picture_has_no_card(
    prompts: WritePrompts, run_job: RunJob, folder: JobFolder, tmp_path: Path
) -> None:
    """Such as that of DPG-Bench."""
    prompts(2)
    run_job(images_per_prompt=4)
    Ask(folder, tmp_path / "dpg")("dpg-bench")
    assert sorted(path.name for path in (tmp_path / "dpg").iterdir()) == ["k0.png", "k1.png"]
