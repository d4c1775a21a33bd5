"""The demo model's folder: whole, readable by others, and written once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchgen import weights
from batchgen.config import DeviceConfig, DeviceKind
from batchgen.pipelines import demo
from batchgen.pipelines.loading import import_mindone
from batchgen.pipelines.machine import Machine


@pytest.fixture(scope="module", autouse=True)
def _mindspore() -> None:
    Machine(DeviceConfig(), DeviceKind.cpu, one_core=True)
    import_mindone()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A demo model in a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCHGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield demo.folder()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a model that is written in no time."""
    monkeypatch.setenv("BATCHGEN_CACHE", str(tmp_path))

    def write(place: Path) -> None:
        place.mkdir()
        (place / "model_index.json").write_text("{}")

    monkeypatch.setattr(demo, "_write", write)
    return tmp_path


def test_folder_is_a_whole_model(folder: Path) -> None:
    """What is asked of a downloaded model holds here, safetensors included."""
    weights.check(folder, None)
    assert folder.name == f"demo-{weights.DEMO_REVISION}"


def test_tensors_are_named_as_in_pytorch(folder: Path) -> None:
    """Others read the files: no gamma, beta or embedding_table, and `format: pt`."""
    from safetensors import safe_open

    with safe_open(folder / "text_encoder/model.safetensors", "numpy") as tensors:
        names = set(tensors.keys())
        assert tensors.metadata() == {"format": "pt"}
    assert "text_model.encoder.layers.0.layer_norm1.weight" in names
    assert "text_model.embeddings.token_embedding.weight" in names
    assert not any(name.endswith(("gamma", "beta", "embedding_table")) for name in names)


def test_model_is_small(folder: Path) -> None:
    """A few million parameters: twenty megabytes on disk."""
    assert sum(file.stat().st_size for file in folder.rglob("*.safetensors")) < 25e6


def test_tensor_depends_on_its_name_alone() -> None:
    """Order of drawing does not matter; two tensors of one shape differ."""
    first = demo.drawn("unet", "a.weight", (8, 4))
    demo.drawn("unet", "b.weight", (8, 4))
    np.testing.assert_array_equal(first, demo.drawn("unet", "a.weight", (8, 4)))
    assert not np.array_equal(first, demo.drawn("unet", "b.weight", (8, 4)))
    assert not np.array_equal(first, demo.drawn("vae", "a.weight", (8, 4)))


def test_weights_keep_a_signals_size() -> None:
    """Scaled by what flows in; norms and biases do nothing."""
    assert demo.drawn("unet", "a.weight", (400, 100)).std() == pytest.approx(0.1, rel=0.05)
    np.testing.assert_array_equal(demo.drawn("unet", "norm.weight", (5,)), np.ones(5))
    np.testing.assert_array_equal(demo.drawn("unet", "norm.bias", (5,)), np.zeros(5))


@pytest.mark.parametrize("prompt", ["", "a red cat", "城市夜景 🌃", "naïve café\t\n!", "x" * 500])
def test_tokenizer_takes_any_text(folder: Path, prompt: str) -> None:
    """Bytes stand for what has no token of its own; nothing is lost."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    numbers = tokenizer(prompt, verbose=False).input_ids
    assert tokenizer.unk_token_id not in numbers[1:-1]
    text = tokenizer.decode(numbers, skip_special_tokens=True)
    assert "".join(text.split()) == "".join(prompt.lower().split())


def test_known_words_are_one_token(folder: Path) -> None:
    """So that ordinary prompts fit into 77 tokens."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer_2"))
    assert len(tokenizer("a photo of a cat in the forest").input_ids) == 2 + 8
    assert tokenizer.model_max_length == 77


@pytest.mark.usefixtures("cache")
def test_second_use_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is there, so that is it."""
    place = demo.folder()
    monkeypatch.setattr(demo, "_write", None)
    assert demo.folder() == place


def test_another_process_may_win(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes make it at once: the loser takes the winner's, and leaves nothing behind."""
    write = demo._write

    def overtaken(place: Path) -> None:
        write(place)
        (cache / f"demo-{weights.DEMO_REVISION}").mkdir()
        (cache / f"demo-{weights.DEMO_REVISION}" / "winner").touch()

    monkeypatch.setattr(demo, "_write", overtaken)
    assert (demo.folder() / "winner").exists()
    assert len(list(cache.iterdir())) == 1


def test_failed_writing_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk ends it; the next start begins anew."""

    def failing(place: Path) -> None:
        place.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo, "_write", failing)
    with pytest.raises(OSError, match="No space left"):
        demo.folder()
    assert not list(cache.iterdir())


def test_configs_are_those_of_the_recipe(folder: Path) -> None:
    """The identity is the recipe's digest, so the recipe is what is written."""
    config = json.loads((folder / "unet/config.json").read_text())
    assert weights.UNET.items() <= config.items()
