"""Jobs with adapters, from table to metadata, on the fake model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeConfig, RunJob, WriteTable
from lora_files import LAYERS, tensors, write_lora

import batchgen
from batchgen.cli.main import main
from batchgen.errors import ConfigError, FolderError, JobChanged, ModelError, TableError
from batchgen.images.image_file import parameters_of
from batchgen.ledger.reader import read_table
from batchgen.runner.reproduction import original_in_job, original_of_file, reproduce
from batchgen.storage.folder import JobFolder

TABLE = "id,prompt,lora\na,a cat,\nb,a dog,pixel:0.8\nc,a bird,film pixel:.8\nd,a cow,none\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of files are kept below `tmp_path`."""
    monkeypatch.setenv("BATCHGEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def adapters(tmp_path: Path) -> dict[str, dict[str, str]]:
    """Two adapters as a config names them."""
    files = {
        name: write_lora(tmp_path / f"{name}.safetensors", seed=seed)
        for seed, name in enumerate(("pixel", "film"))
    }
    return {name: {"path": str(file)} for name, file in files.items()}


@pytest.fixture
def rows(
    run_job: RunJob, folder: JobFolder, adapters: dict[str, Any], write_table: WriteTable
) -> Callable[..., dict[str, dict[str, Any]]]:
    """Return a function that runs TABLE and returns the metadata by row key."""
    write_table(TABLE)

    def run(**settings: Any) -> dict[str, dict[str, Any]]:
        assert run_job(**{"adapters": adapters, "batch_size": 4, **settings}).exit_code == 0
        return {row["row_key"]: row for row in read_table(folder).to_pylist()}

    return run


Rows = Callable[..., dict[str, dict[str, Any]]]


def test_a_row_names_its_adapters(rows: Rows) -> None:
    """In one form, whatever the cell's; an empty cell and `none` are no adapter here."""
    assert {key: row["lora"] for key, row in rows().items()} == {
        "a": "", "b": "pixel:0.8", "c": "film:1 pixel:0.8", "d": "",
    }  # fmt: skip


def test_a_row_takes_the_place_of_the_jobs_default(rows: Rows) -> None:
    """As for every setting: an empty cell is the job's own, and `none` takes it away."""
    loras = {key: row["lora"] for key, row in rows(sampling={"lora": "film"}).items()}
    assert loras == {"a": "film:1", "b": "pixel:0.8", "c": "film:1 pixel:0.8", "d": ""}


def test_batches_hold_equal_adapters(rows: Rows) -> None:
    """The two without any share a batch although others stand between them."""
    made = rows()
    assert made["a"]["batch_id"] == made["d"]["batch_id"]
    assert len({row["batch_id"] for row in made.values()}) == 3


def test_adapters_show_in_the_fake_models_pixels(rows: Rows) -> None:
    """So that a switch that was forgotten would be seen without a real model."""
    with_default = rows(sampling={"lora": "film"}, seeds=[1])
    without = rows(seeds=[1], on_change="redo")
    changed = {k for k in without if without[k]["pixel_sha256"] != with_default[k]["pixel_sha256"]}
    assert changed == {"a"}


def test_the_revisions_are_on_record(rows: Rows, tmp_path: Path) -> None:
    """The hash of each file behind its name; empty where there is none."""
    made = rows()
    digests = {
        name: hashlib.sha256((tmp_path / f"{name}.safetensors").read_bytes()).hexdigest()[:16]
        for name in ("film", "pixel")
    }
    assert made["c"]["lora_revisions"] == "film:{film} pixel:{pixel}".format(**digests)
    assert made["a"]["lora_revisions"] == ""


def test_the_image_names_its_adapters(rows: Rows, folder: JobFolder) -> None:
    """Beside the other settings, for viewers and for `repro`."""
    row = rows()["b"]
    text = parameters_of(folder.root / row["file_name"]) or ""
    digits = row["lora_revisions"].partition(":")[2][:10]
    assert f'Lora: "pixel:0.8", Lora hashes: "pixel: {digits}"' in text


def test_a_replaced_file_changes_only_the_images_it_made(rows: Rows, tmp_path: Path) -> None:
    """Nothing is mixed in silence, and nothing is made again for nothing."""
    before = rows()
    write_lora(tmp_path / "film.safetensors", seed=7)
    with pytest.raises(JobChanged, match="holds 1 finished image made with other settings"):
        rows()
    after = rows(on_change="redo")
    changed = {key for key in after if after[key]["fingerprint"] != before[key]["fingerprint"]}
    assert changed == {"c"}


def test_an_unrelated_adapter_changes_nothing(
    rows: Rows, adapters: dict[str, Any], tmp_path: Path
) -> None:
    """The same folder goes on when the config learns another adapter."""
    before = rows()
    other = write_lora(tmp_path / "other.safetensors", seed=9)
    assert rows(adapters={**adapters, "other": {"path": str(other)}}) == before


def test_repro_loads_the_adapters_of_the_job(rows: Rows, folder: JobFolder) -> None:
    """The config in job.json knows their files."""
    rows()
    comparison = reproduce(original_in_job(folder, "c"))
    assert comparison.is_same, comparison.lines


def test_repro_says_that_an_adapter_is_another(
    rows: Rows, folder: JobFolder, tmp_path: Path
) -> None:
    """Before anyone wonders about the pixels."""
    rows()
    write_lora(tmp_path / "pixel.safetensors", seed=7)
    assert "An adapter is another: pixel:" in " ".join(original_in_job(folder, "b").notes)


def test_an_image_out_of_its_job_does_not_know_its_adapters(
    rows: Rows, folder: JobFolder, tmp_path: Path
) -> None:
    """A name is no file."""
    alone = tmp_path / "alone.png"
    alone.write_bytes((folder.root / rows()["b"]["file_name"]).read_bytes())
    with pytest.raises(FolderError, match=r"alone\.png was made with adapters \(pixel:0\.8\)"):
        original_of_file(alone)


def test_an_unknown_adapter_of_a_row_is_refused(
    run_job: RunJob, folder: JobFolder, write_table: WriteTable, adapters: dict[str, Any]
) -> None:
    """Row, value and what there is; before a folder is made."""
    write_table("prompt,lora\na cat,pixel\na dog,pixle:0.5\n")
    reason = (
        r"row 1: lora 'pixle:0\.5' names pixle, .*; it has: pixel, film\. Set adapters\.pixle\.path"
    )
    with pytest.raises(TableError, match=reason):
        run_job(adapters=adapters)
    assert not folder.root.exists()


def test_a_cell_of_another_form_is_refused(run_job: RunJob, write_table: WriteTable) -> None:
    """Like every bad cell, with row and column."""
    write_table("prompt,lora\na cat,pixel:strong\n")
    with pytest.raises(TableError, match=r"row 0: column 'lora' has 'pixel:strong', which has"):
        run_job()


def test_an_unknown_adapter_of_the_job_is_refused(fake_config: MakeConfig) -> None:
    """By the config alone."""
    with pytest.raises(ConfigError, match=r"sampling\.lora='pixel' names pixel, .* it has: none"):
        fake_config(sampling={"lora": "pixel"}).validated()


@pytest.mark.parametrize(
    ("adapter", "reason"),
    [
        ({}, "needs one of two"),
        ({"path": "a", "hub_id": "b/c"}, "needs one of two"),
        ({"path": 3}, r"adapters\.pixel\.path=3 is not text"),
    ],
)
def test_an_adapter_is_a_path_or_a_hub_id(
    fake_config: MakeConfig, adapter: dict[str, Any], reason: str
) -> None:
    """Exactly one of the two."""
    with pytest.raises(ConfigError, match=reason):
        fake_config(adapters={"pixel": adapter}).validated()


@pytest.mark.parametrize("name", ["none", "a.b", "a b", "a:b", ""])
def test_a_name_can_stand_in_a_cell(fake_config: MakeConfig, name: str) -> None:
    """What would part a list of pairs, or mean nothing, is no name."""
    with pytest.raises(ConfigError, match="cannot be the name of an adapter"):
        fake_config(adapters={name: {"path": "a.safetensors"}}).validated()


def test_a_file_that_is_no_lora_is_refused_before_the_run(
    run_job: RunJob, write_table: WriteTable, tmp_path: Path, folder: JobFolder
) -> None:
    """Even if no row uses it."""
    write_table("prompt\na cat\n")
    path = write_lora(
        tmp_path / "x.safetensors",
        {"conv_in.weight": tensors(LAYERS)["unet.conv_in.lora_A.weight"]},
    )
    with pytest.raises(ModelError, match=r"is not a LoRA .*: tensor conv_in\.weight"):
        run_job(adapters={"pixel": {"path": str(path)}})
    assert not folder.root.exists()


@pytest.mark.usefixtures("workplace")
def test_the_command_line_takes_adapters(
    adapters: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A new name needs no `+`, and `plan` checks it all."""
    given = [f"adapters.{name}.path={adapter['path']}" for name, adapter in adapters.items()]
    code = main(["plan", "table=t.csv", "model=fake", *given, "sampling.lora=pixel:0.5 film"])
    assert (code, "3 to make" in capsys.readouterr().out) == (0, True)


def test_adapters_of_a_job_file_and_of_the_command_line_are_merged(
    workplace: Path, adapters: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """An override changes one field of one adapter."""
    (workplace / "jobs").mkdir()
    job = "# @package _global_\ntable: t.csv\nadapters:\n  pixel: {path: gone.safetensors}\n"
    (workplace / "jobs" / "night.yaml").write_text(job, encoding="utf-8")
    path = adapters["pixel"]["path"]
    assert main(["plan", "jobs=night", "model=fake", f"adapters.pixel.path={path}"]) == 0
    assert main(["plan", "jobs=night", "model=fake"]) == 2
    assert "adapters.pixel.path=gone.safetensors is not there" in capsys.readouterr().err


@pytest.mark.usefixtures("workplace")
def test_python_takes_adapters_as_dicts(adapters: dict[str, Any]) -> None:
    """`batchgen.run` needs no class of ours."""
    settings = {"lora": "pixel", "width": 64, "height": 64}
    batchgen.run(table="t.csv", model="fake", adapters=adapters, sampling=settings)
    assert batchgen.read_metadata("outputs/t")["lora"].unique().tolist() == ["pixel:1"]
