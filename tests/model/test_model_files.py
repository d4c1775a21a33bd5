"""What is a whole model: every tensor that its configs call for, in its shape, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_model import CONFIGS, change, weight_file, write_model, write_shards

from batchgen.errors import ModelError
from batchgen.model.model_files import ModelFiles


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    """A whole model."""
    return ModelFiles(write_model(tmp_path / "model"), "fp16")


def unet(files: ModelFiles) -> Path:
    """Return the file of the UNet."""
    return weight_file(files.folder, "unet")


@pytest.mark.parametrize("component", CONFIGS)
def test_missing_tensor_is_named_with_its_file(files: ModelFiles, component: str) -> None:
    """Left out, it would be initialised at random, silently."""
    file = weight_file(files.folder, component)
    name = min(load_file(file))
    change(file, **{name: None})
    with pytest.raises(ModelError, match=rf"{component}: {name} is missing\. It would be init"):
        files.check()


def test_tensor_of_another_shape_is_named_with_both(files: ModelFiles) -> None:
    """As with an inpainting model's first convolution."""
    change(unet(files), conv_in__weight=np.zeros((2, 9, 3, 3), np.float16))
    with pytest.raises(ModelError, match=r"conv_in\.weight is 2 x 9 x 3 x 3, not 2 x 4 x 3 x 3"):
        files.check()


def test_many_faults_are_shown_in_part(files: ModelFiles) -> None:
    """A message stays a line: three names, and that there are more."""
    save_file({}, unet(files))
    with pytest.raises(ModelError, match=r"conv_in\.weight is missing(, .*){2} and more\."):
        files.check()


def test_tensor_that_no_config_calls_for_is_refused(files: ModelFiles) -> None:
    """A config of a smaller model would load, and leave half of the tensors out."""
    config = CONFIGS["text_encoder"] | {"num_hidden_layers": 0}
    (files.folder / "text_encoder/config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"layers\.0.* and more\. They do not belong together"):
        files.check()


@pytest.mark.parametrize("name", ["text_model__embeddings__position_ids", "logit_scale"])
def test_tensors_that_everyone_leaves_out_do_no_harm(files: ModelFiles, name: str) -> None:
    """Older releases of transformers wrote positions into the file."""
    change(weight_file(files.folder, "text_encoder"), **{name: np.arange(7)})
    files.check()


def test_shard_without_what_its_index_says_is_refused(files: ModelFiles) -> None:
    """Mindone believes the index, and draws the rest at random."""
    shards = write_shards(files.folder / "unet")
    files.check()
    change(files.folder / "unet" / shards[0], conv_in__bias=None)
    with pytest.raises(ModelError, match=r"conv_in\.bias is missing"):
        files.check()


def test_names_of_mindspore_and_of_old_diffusers_are_known(files: ModelFiles) -> None:
    """What MindOne itself saves has gammas, betas and embedding tables."""
    encoder, vae = weight_file(files.folder, "text_encoder"), weight_file(files.folder, "vae")
    table = "text_model.embeddings.token_embedding."
    renamed = {f"{table}weight": f"{table}embedding_table"}
    save_file({renamed.get(k, k): v for k, v in load_file(encoder).items()}, encoder)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    content = load_file(vae)
    for new_name, old_name in old.items():
        content = {k.replace(f".{new_name}.", f".{old_name}."): v for k, v in content.items()}
    save_file(content, vae)
    files.check()


@pytest.mark.parametrize("dtype", [np.int8, np.float64])
def test_other_types_are_refused(files: ModelFiles, dtype: Any) -> None:
    """Quantized files need code that is not here."""
    change(unet(files), conv_in__bias=np.zeros(2, dtype))
    with pytest.raises(ModelError, match=r"stores conv_in\.bias as (I8|F64); only F16 and F32"):
        files.check()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("addition_embed_type", None, "addition_embed_type=None, where SDXL has text_time"),
        ("down_block_types", ["AttnDownBlock2D", "DownBlock2D"], "is not SDXL's"),
        ("layers_per_block", [1], "layers_per_block="),
        ("block_out_channels", "large", "is not that of an SDXL"),
        ("cross_attention_dim", None, "is not that of an SDXL|is missing|not 4 x None"),
        ("transformer_layers_per_block", [[1], [1]], "reverse_transformer_layers_per_block is not"),
        ("reverse_transformer_layers_per_block", [1], r"reverse_.*=\[1\] is not a number for"),
        ("reverse_transformer_layers_per_block", [[1], 1], r"=\[\[1\], 1\] is not a number for"),
        ("reverse_transformer_layers_per_block", [["2", 1], 1], "is not a number for each block"),
        ("reverse_transformer_layers_per_block", 2, "is not that of an SDXL"),
        ("mid_block_type", "UNetMidBlock2DSimpleCrossAttn", "mid_block_type=.* is not SDXL's"),
    ],
)
def test_config_of_something_else_is_refused(
    files: ModelFiles, key: str, value: Any, said: str
) -> None:
    """A setting that no SDXL has is named with its file, never a traceback."""
    config = CONFIGS["unet"] | {key: value}
    (files.folder / "unet/config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=said):
        files.check()


def test_a_model_with_fewer_transformers_is_whole(tmp_path: Path) -> None:
    """As SSD-1B and Segmind-Vega: depths by layer on the way up, and a middle without attention."""
    fewer = {
        "mid_block_type": "UNetMidBlock2D", "transformer_layers_per_block": [0, [2]],
        "reverse_transformer_layers_per_block": [[2, 3], 0],
    }  # fmt: skip
    folder = write_model(tmp_path / "model", unet=fewer)
    ModelFiles(folder, "fp16").check()
    change(
        weight_file(folder, "unet"),
        up_blocks__0__attentions__1__transformer_blocks__2__norm1__bias=None,
    )
    with pytest.raises(
        ModelError, match=r"attentions\.1\.transformer_blocks\.2\.norm1\.bias is miss"
    ):
        ModelFiles(folder, "fp16").check()


def test_config_that_asks_for_a_billion_layers_costs_no_time(files: ModelFiles) -> None:
    """Names are derived one after another, and the first few faults are enough."""
    config = CONFIGS["text_encoder"] | {"num_hidden_layers": 10**9}
    (files.folder / "text_encoder/config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"layers\.1\..* and more"):
        files.check()


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("vocab.json", "{}", "not a complete tokenizer: vocab.json has 0 tokens"),
        ("merges.txt", "#version: 0.2\nr e\n", r"merges\.txt 1 line,"),
        ("vocab.json", json.dumps({f"t{n}": n for n in range(600)}), "600 tokens"),
        ("vocab.json", '{"a": "b"}', r"vocab\.json does not number its tokens"),
        ("merges.txt", "#version: 0.2\né e\n", r"merges\.txt is not UTF-8 text"),
    ],
)
def test_a_tokenizer_that_is_not_whole_is_refused(
    tmp_path: Path, name: str, content: str, fault: str
) -> None:
    """Empty, damaged, with merges that make no token, or without the merges of its words."""
    folder = write_model(tmp_path / "model")
    (folder / "tokenizer_2" / name).write_text(content, encoding="latin-1")
    with pytest.raises(ModelError, match=fault):
        ModelFiles(folder, "fp16").check()


def test_a_vocabulary_larger_than_the_encoders_is_refused(tmp_path: Path) -> None:
    """Its tokens would point past the end of the embeddings."""
    folder = write_model(tmp_path / "model")
    tokens = {f"t{n}": n + 1 for n in range(514)}
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(tokens))
    with pytest.raises(ModelError, match="up to 514, and text_encoder has 514"):
        ModelFiles(folder, "fp16").check()


def test_what_changes_tokens_is_part_of_a_model(tmp_path: Path) -> None:
    """A map of special tokens is read where it is there, so it counts."""
    folder = write_model(tmp_path / "model")
    before = ModelFiles(folder, "fp16").loaded()
    (folder / "tokenizer" / "special_tokens_map.json").write_text("{}")
    added = set(ModelFiles(folder, "fp16").loaded()) - set(before)
    assert added == {folder / "tokenizer" / "special_tokens_map.json"}


@pytest.mark.parametrize("component", ["unet", "vae"])
def test_a_number_of_layers_that_would_fill_the_memory_is_refused(
    files: ModelFiles, component: str
) -> None:
    """A config that was made up must not take the machine down before it is refused."""
    path = files.folder / component / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "layers_per_block": 10**6}))
    with pytest.raises(ModelError, match="layers_per_block=1000000 is not from 1 to 100"):
        files.check()


@pytest.mark.parametrize("name", ["", "unet", "unet/config.json", "tokenizer", "scheduler"])
@pytest.mark.usefixtures("plain_rights")
def test_what_may_not_be_read_is_not_called_missing(files: ModelFiles, name: str) -> None:
    """To fetch it again would not help."""
    place = files.folder / name
    place.chmod(0)
    with pytest.raises(ModelError, match="cannot be read: Permission denied"):
        files.check()
    place.chmod(0o755)
