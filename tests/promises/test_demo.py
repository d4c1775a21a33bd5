"""The demo model's folder: whole, small, and readable by others."""

import pytest

from batchgen.model import weights

FOLDER = weights.DEMO_FOLDER


def test_folder_is_a_whole_model() -> None:
    """What is asked of a downloaded model holds here, safetensors included."""
    weights.check(FOLDER, None)


def test_tensors_are_named_as_in_pytorch() -> None:
    """Others read the files: no gamma, beta or embedding_table, and `format: pt`."""
    from safetensors import safe_open

    with safe_open(FOLDER / "text_encoder/model.safetensors", "numpy") as tensors:
        names = set(tensors.keys())
        assert tensors.metadata() == {"format": "pt"}
    assert "text_model.encoder.layers.0.layer_norm1.weight" in names
    assert "text_model.embeddings.token_embedding.weight" in names
    assert not any(name.endswith(("gamma", "beta", "embedding_table")) for name in names)


def test_model_is_small() -> None:
    """Small enough to come with the package."""
    assert sum(file.stat().st_size for file in FOLDER.rglob("*")) < 16e6


@pytest.mark.parametrize("prompt", ["", "a red cat", "城市夜景 🌃", "naïve café\t\n!", "x" * 500])
def test_tokenizer_takes_any_text(prompt: str) -> None:
    """Bytes stand for what has no token of its own; nothing is lost."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(FOLDER / "tokenizer"))
    numbers = tokenizer(prompt, verbose=False).input_ids
    assert tokenizer.unk_token_id not in numbers[1:-1]
    text = tokenizer.decode(numbers, skip_special_tokens=True)
    assert "".join(text.split()) == "".join(prompt.lower().split())


def test_known_words_are_one_token() -> None:
    """So that ordinary prompts fit into 77 tokens."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(FOLDER / "tokenizer_2"))
    assert (
        len(tokenizer("a small red star left of an orange cross, white background").input_ids)
        == 2 + 12
    )
    assert tokenizer.model_max_length == 77
