"""The adapters of a job: where their files are and what tells them apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from lora_files import write_lora

from batchgen.adapters.adapter import Adapter, check, identified, revisions_text
from batchgen.config.models import AdapterConfig, FakeModel
from batchgen.errors import ModelError


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hubs' caches and our own below `tmp_path`, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCHGEN_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))


def found(**settings: str) -> Path:
    """Return where one adapter's file is."""
    return identified({"pixel": AdapterConfig(**settings)})["pixel"].path


def test_a_path_is_a_file(tmp_path: Path) -> None:
    """Told by the hash of its content."""
    file = write_lora(tmp_path / "a.safetensors")
    adapter = identified({"pixel": AdapterConfig(path=str(file))})["pixel"]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert adapter == Adapter("pixel", file, digest[:16])


def test_a_folder_may_hold_one_file(tmp_path: Path) -> None:
    """As hubs' folders mostly do."""
    file = write_lora(tmp_path / "pixel" / "a.safetensors")
    assert found(path=str(file.parent)) == file


def test_of_several_files_weight_name_chooses(tmp_path: Path) -> None:
    """Never the first one that comes."""
    for name in ("a", "b"):
        write_lora(tmp_path / "pixel" / f"{name}.safetensors")
    folder = str(tmp_path / "pixel")
    assert found(path=folder, weight_name="b.safetensors").name == "b.safetensors"
    with pytest.raises(ModelError, match=r"it has: a\.safetensors, b\.safetensors.*weight_name"):
        found(path=folder)


@pytest.mark.parametrize(
    "place",
    [
        "ms/hub/models/nerijs/pixel-art-xl",
        "ms/models/nerijs--pixel-art-xl/snapshots/master",
        "hf/models--nerijs--pixel-art-xl/snapshots/0123",
    ],
)
def test_a_hub_id_is_looked_up_in_the_caches(tmp_path: Path, place: str) -> None:
    """Of both hubs, in the layouts that models are found in too."""
    file = write_lora(tmp_path / place / "a.safetensors")
    assert found(hub_id="nerijs/pixel-art-xl") == file


def test_a_cache_without_the_file_hides_no_other_that_has_it(tmp_path: Path) -> None:
    """Both hubs may have been asked for one repository, each for another file of it."""
    write_lora(tmp_path / "ms/models/nerijs/pixel-art-xl/a.safetensors")
    file = write_lora(tmp_path / "hf/models--nerijs--pixel-art-xl/snapshots/0123/b.safetensors")
    assert found(hub_id="nerijs/pixel-art-xl", weight_name="b.safetensors") == file
    with pytest.raises(
        ModelError, match=r"has no c\.safetensors.*`batchgen download adapters\.pix"
    ):
        found(hub_id="nerijs/pixel-art-xl", weight_name="c.safetensors")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"path": "gone.safetensors"}, r"adapters\.pixel\.path=gone\.safetensors is not there"),
        ({"hub_id": "nerijs/no"}, r"adapters\.pixel\.hub_id=nerijs/no is not on this machine"),
        ({"hub_id": "nerijs/no"}, r"`batchgen download adapters\.pixel\.hub_id=nerijs/no`"),
        ({"path": "."}, r"adapters\.pixel: \. is a folder; of safetensors it has: none"),
    ],
)
def test_a_missing_file_is_refused_by_name(settings: dict[str, str], reason: str) -> None:
    """With what to do about it."""
    with pytest.raises(ModelError, match=reason):
        found(**settings)


def test_a_model_without_layers_takes_any_lora_but_nothing_else(tmp_path: Path) -> None:
    """The fake model has no architecture; a file that is not a LoRA is refused there too."""
    check([Adapter("pixel", write_lora(tmp_path / "a.safetensors"), "0" * 16)], FakeModel())
    (tmp_path / "b.safetensors").write_bytes(b"not one")
    with pytest.raises(ModelError, match=r"b\.safetensors is not a complete safetensors file"):
        check([Adapter("pixel", tmp_path / "b.safetensors", "0" * 16)], FakeModel())


def test_revisions_are_named_in_the_order_of_the_text() -> None:
    """Only those the image was made with."""
    adapters = {name: Adapter(name, Path(), name * 4) for name in ("a", "b", "c")}
    assert revisions_text("a:0.5 c:1", adapters) == "a:aaaa c:cccc"
    assert revisions_text("", adapters) == ""
