"""Where models are found, what is refused, and what tells them apart; no mindspore needed."""

import os
import pwd
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import change, write_model, write_shards

from batchgen.config.device import DeviceKind
from batchgen.config.models import DemoModel, Dtype, FakeModel, SdxlModel
from batchgen.errors import ModelError, ModelMissing
from batchgen.model import weights
from batchgen.storage import hashes

NAME = "stable-diffusion-xl-base-1.0"
CPU, ASCEND = DeviceKind.cpu, DeviceKind.ascend


@pytest.fixture
def model(home: Path) -> SdxlModel:
    """A whole model in a folder that is named."""
    return SdxlModel(path=str(write_model(home / "model")))


def test_cache_folder_is_where_the_variables_say(home: Path, monkeypatch: Any) -> None:
    """Our own variable first, then the user's cache, then the home."""
    assert weights.cache_folder() == home / "cache"
    monkeypatch.delenv("BATCHGEN_CACHE")
    assert weights.cache_folder() == home / ".cache/batchgen"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert weights.cache_folder() == home / "xdg/batchgen"


def test_a_user_without_a_home_is_told_the_variable(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container may run under any number; no folder called ~ is made."""

    def unknown(_: int) -> None:
        raise KeyError

    for name in ("HOME", "BATCHGEN_CACHE"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(ModelError, match=r"has no home, and HOME is not set\. Set BATCHGEN_CACHE"):
        weights.identity(DemoModel(), DeviceKind.cpu)
    monkeypatch.setenv("BATCHGEN_CACHE", str(home / "cache"))
    with pytest.raises(ModelMissing):
        weights.find(SdxlModel())
    assert not (home / "~").exists()


@pytest.mark.parametrize(
    "place",
    [
        f".cache/modelscope/hub/models/AI-ModelScope/{NAME}",
        ".cache/modelscope/hub/models/AI-ModelScope/stable-diffusion-xl-base-1___0",
        f".cache/modelscope/hub/AI-ModelScope/{NAME}",
        f".cache/modelscope/models/AI-ModelScope--{NAME}/snapshots/master",
        f".cache/huggingface/hub/models--stabilityai--{NAME}/snapshots/462165984030",
        f"models/{NAME}",
    ],
)
def test_model_is_found_where_hubs_put_it(home: Path, place: str) -> None:
    """Every layout of both hubs' caches, and ./models, without a search of the disk."""
    write_model(home / place)
    assert weights.locate(SdxlModel()).resolve() == home / place


@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("MODELSCOPE_CACHE", f"elsewhere/models/AI-ModelScope/{NAME}"),
        ("MODELSCOPE_CACHE", f"elsewhere/AI-ModelScope/{NAME}"),
        ("HF_HOME", f"elsewhere/hub/models--stabilityai--{NAME}/snapshots/46"),
        ("HF_HUB_CACHE", f"elsewhere/models--stabilityai--{NAME}/snapshots/46"),
    ],
)
def test_hubs_variables_are_followed(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, place: str
) -> None:
    """A cache that was moved is found through the variable that moved it."""
    monkeypatch.setenv(variable, str(home / "elsewhere"))
    write_model(home / place)
    assert weights.locate(SdxlModel()) == home / place


def test_model_nowhere_names_the_places_and_the_command(home: Path) -> None:
    """Who has not downloaded anything is told how, and where it was looked for.

    A name such as model.name=mine is that of no config.
    """
    with pytest.raises(ModelError) as caught:
        weights.locate(SdxlModel(name="mine"))
    message = str(caught.value)
    assert "Fetch it with `batchgen download` and the settings of this job" in message
    assert str(home / ".cache/modelscope/hub/models/AI-ModelScope" / NAME) in message


def test_whole_copy_is_preferred_to_a_broken_one(home: Path) -> None:
    """A download that broke off in one cache does not hide the model in the other."""
    broken = write_model(home / f".cache/modelscope/hub/models/AI-ModelScope/{NAME}")
    (broken / "vae/config.json").unlink()
    whole = write_model(home / "models" / NAME)
    assert weights.locate(SdxlModel()).resolve() == whole
    (whole / "model_index.json").unlink()
    with pytest.raises(ModelError, match=r"vae/config\.json is missing"):
        weights.locate(SdxlModel())


def test_path_that_is_no_model_is_refused(home: Path) -> None:
    """The folder above the model is the usual slip."""
    with pytest.raises(ModelError, match=r"has no model_index\.json"):
        weights.locate(SdxlModel(path=str(home)))


def test_whole_model_passes(home: Path) -> None:
    """With a variant and without."""
    weights.check(write_model(home / "a", "fp16"), "fp16")
    weights.check(write_model(home / "b", None), None)


def test_sharded_weights_pass_and_a_missing_shard_does_not(home: Path) -> None:
    """The index says which files there must be."""
    unet = write_model(home / "model") / "unet"
    shards = write_shards(unet)
    weights.check(home / "model", "fp16")
    (unet / shards[1]).unlink()
    with pytest.raises(ModelError, match=r"00002-of-00002\.safetensors is missing"):
        weights.check(home / "model", "fp16")


@pytest.mark.parametrize(
    "gone", ["vae", "unet/config.json", "tokenizer_2/merges.txt", "scheduler/scheduler_config.json"]
)
def test_missing_part_is_named(home: Path, gone: str) -> None:
    """A folder or a file, each by its path."""
    path = write_model(home / "model") / gone
    path.rename(home / "gone")
    with pytest.raises(ModelError, match=f"{gone} is missing"):
        weights.check(home / "model", "fp16")


def test_truncated_tensors_are_refused(home: Path) -> None:
    """A file shorter than its header promises was cut off."""
    file = write_model(home / "model") / "unet/diffusion_pytorch_model.fp16.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ModelError, match=r"unet/.*cut off or damaged"):
        weights.check(home / "model", "fp16")


@pytest.mark.parametrize("content", [b"", b"abc", struct.pack("<Q", 8) + b"no json!", b"\xff" * 99])
def test_damaged_header_is_refused(home: Path, content: bytes) -> None:
    """Whatever the bytes are, the file is named."""
    file = write_model(home / "model") / "vae/diffusion_pytorch_model.fp16.safetensors"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"vae/.*cut off or damaged"):
        weights.check(home / "model", "fp16")


@pytest.mark.parametrize(
    "name", ["unet/diffusion_pytorch_model.fp16.safetensors", "model_index.json"]
)
def test_lfs_pointer_is_called_one(home: Path, name: str) -> None:
    """A clone without git-lfs has text files in place of weights."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5135149760\n"
    (write_model(home / "model") / name).write_text(pointer)
    with pytest.raises(ModelError, match="git lfs pull"):
        weights.check(home / "model", "fp16")


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt"])
def test_pickles_are_refused(home: Path, suffix: str) -> None:
    """A pickle can run any code; only safetensors are opened."""
    file = write_model(home / "model") / "unet/diffusion_pytorch_model.fp16.safetensors"
    file.rename(file.with_suffix(suffix))
    with pytest.raises(ModelError, match="pickled weights only"):
        weights.check(home / "model", "fp16")


def test_other_variant_is_named(home: Path) -> None:
    """What is there is shown, so that the variant can be set right."""
    write_model(home / "model", None)
    with pytest.raises(ModelError, match=r"it has model.safetensors. Set model.variant"):
        weights.check(home / "model", "fp16")


def test_other_pipelines_are_refused(home: Path) -> None:
    """A refiner's folder looks the same but for one word."""
    index = write_model(home / "model") / "model_index.json"
    index.write_text('{"_class_name": "StableDiffusionXLImg2ImgPipeline"}')
    with pytest.raises(ModelError, match="StableDiffusionXLImg2ImgPipeline"):
        weights.check(home / "model", "fp16")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_config_that_does_not_parse_is_refused(home: Path, text: str) -> None:
    """A half-written config is named, not shown as a traceback."""
    (write_model(home / "model") / "unet/config.json").write_text(text)
    with pytest.raises(ModelError, match=r"unet/config.json .*JSON"):
        weights.check(home / "model", "fp16")


def test_identity_changes_with_a_tensor_and_with_nothing_else(model: SdxlModel) -> None:
    """Contents count; other files, names of folders and time stamps do not."""
    before = weights.identity(model, CPU)
    folder = Path(str(model.path))
    (folder / "README.md").write_text("hello")
    os.utime(folder / "unet/config.json")
    moved = SdxlModel(path=str(folder.rename(folder.with_name("moved"))))
    assert weights.identity(moved, CPU) == before
    tensors = Path(str(moved.path)) / "vae/diffusion_pytorch_model.fp16.safetensors"
    change(tensors, quant_conv__bias=np.ones(8, np.float16))
    assert weights.identity(moved, CPU).revision != before.revision


def test_second_identity_reads_no_weights(model: SdxlModel, monkeypatch: Any) -> None:
    """Hashes are kept by size, time and inode: seven gigabytes are read once."""
    before = weights.identity(model, CPU)
    monkeypatch.setattr(hashes, "sha256", None)
    assert weights.identity(model, CPU) == before


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": 1}', "[" * 100_000])
def test_damaged_stamps_are_made_anew(model: SdxlModel, damage: str) -> None:
    """The stamp file is only a memory."""
    before = weights.identity(model, CPU)
    (weights.cache_folder() / "hashes.json").write_text(damage)
    assert weights.identity(model, CPU) == before


def test_unwritable_cache_is_only_slow(model: SdxlModel, monkeypatch: Any, caplog: Any) -> None:
    """A cache folder that cannot be made costs time, not the job."""
    (Path(str(model.path)) / "file").write_text("")
    monkeypatch.setenv("BATCHGEN_CACHE", f"{model.path}/file/cache")
    assert weights.identity(model, CPU).revision
    assert "cannot be written" in caplog.text


def test_dtype_is_float32_on_a_cpu_and_the_models_on_an_npu(model: SdxlModel) -> None:
    """The VAE's type is shown where it is another."""
    assert weights.identity(model, CPU).dtype == "float32"
    assert weights.identity(model, ASCEND).dtype == "float16+vae-float32"
    model.vae_dtype = Dtype.float16
    assert weights.identity(model, ASCEND).dtype == "float16"


def test_fakes_identity_knows_whether_batches_matter() -> None:
    """A fake that is sensitive to its batch makes other pixels."""
    plain, sensitive = FakeModel(), FakeModel(batch_sensitive=True)
    assert weights.identity(plain, CPU).revision == "fake-1"
    assert weights.identity(sensitive, CPU).revision != "fake-1"


def test_demos_identity_needs_no_mindspore() -> None:
    """A finished job is known without the heavy imports."""
    code = (
        "import sys; from batchgen.model import weights; from batchgen.config.job import *;"
        "from batchgen.config.device import *;"
        "from batchgen.config.models import *;"
        "print(weights.identity(DemoModel(), DeviceKind.cpu).revision);"
        "heavy = {'mindspore', 'mindone', 'modelscope', 'transformers'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    repository = str(Path(weights.__file__).parents[2])
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=repository
    )
    assert shown.stdout.strip() == weights.identity(DemoModel(), CPU).revision
