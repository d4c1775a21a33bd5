"""The demo model: an SDXL of a few million random weights in diffusers' layout, made on first use.

Everything but its size and its training is SDXL's: two text encoders, a UNet with cross-attention
and micro-conditioning, a VAE that shrinks by eight. Written under PyTorch's tensor names, so that
diffusers loads the same folder.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchgen.errors import ModelError
from batchgen.model_files import WEIGHTS
from batchgen.weights import DEMO_RECIPE, DEMO_REVISION, cache_folder

START, END = "<|startoftext|>", "<|endoftext|>"

EMBEDDINGS = ("token_embedding.weight", "position_embedding.weight")

BLUR = np.outer([1, 2, 1], [1, 2, 1]) / 8.0


def folder() -> Path:
    """The demo model's folder, written now if this is its first use.

    Made beside its place and moved there when it is whole, so that processes that start together
    may all make it: one wins, and they are all the same.
    """
    place = cache_folder() / f"demo-{DEMO_REVISION}"
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".demo-", dir=place.parent))
    except OSError as error:
        raise ModelError(
            f"The demo model cannot be written to {place.parent}: {error.strerror}. "
            "Set BATCHGEN_CACHE to a folder that can be written."
        ) from error
    try:
        # One folder deeper, for mkdtemp's own is closed to all but its user.
        _write(draft / "model")
        (draft / "model").rename(place)
    except OSError:
        if not place.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return place


def _write(place: Path) -> None:
    from safetensors.numpy import save_file

    vocabulary, merges = tokens(DEMO_RECIPE["words"])
    for name, pad in (("tokenizer", END), ("tokenizer_2", "!")):
        _write_tokenizer(place / name, vocabulary, merges, pad)
    for component, config, model in _models(len(vocabulary)):
        _json(place / component / "config.json", config)
        tensors = {name: drawn(component, name, shape) for name, shape in _shapes(model)}
        path = place / component / f"{WEIGHTS[component]}.safetensors"
        save_file(tensors, path, metadata={"format": "pt"})
    _json(
        place / "scheduler" / "scheduler_config.json",
        {"_class_name": "EulerDiscreteScheduler", **DEMO_RECIPE["scheduler"]},
    )
    _json(place / "model_index.json", {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    })  # fmt: skip


def _models(n_tokens: int) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Each component's name, its config.json, and a model of that shape without weights."""
    from mindone.diffusers import AutoencoderKL, UNet2DConditionModel
    from mindone.transformers import CLIPTextModel, CLIPTextModelWithProjection
    from transformers import CLIPTextConfig

    for name, kind in (("text_encoder", CLIPTextModel),
                       ("text_encoder_2", CLIPTextModelWithProjection)):  # fmt: skip
        config = CLIPTextConfig(
            vocab_size=n_tokens, bos_token_id=n_tokens - 2, eos_token_id=n_tokens - 1,
            pad_token_id=n_tokens - 1 if name == "text_encoder" else 0, **DEMO_RECIPE[name],
        )  # fmt: skip
        written = config.to_dict() | {"architectures": [kind.__name__]}
        yield name, written, kind(config)
    for name, kind in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        written = {"_class_name": kind.__name__, **DEMO_RECIPE[name]}
        yield name, written, kind.from_config(DEMO_RECIPE[name])


def _shapes(model: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    """PyTorch's names and the shapes of a model's tensors; MindSpore names norms otherwise."""
    ends = {"gamma": "weight", "beta": "bias", "embedding_table": "weight"}
    for name, parameter in model.parameters_and_names():
        stem, _, end = name.rpartition(".")
        yield f"{stem}.{ends.get(end, end)}", tuple(parameter.shape)


def drawn(component: str, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A tensor's values by its name alone: norms do nothing, the rest keeps the signal's size.

    The VAE's kernels are blurs: it paints soft blotches, where plain noise would be all grain.
    """
    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    number = int.from_bytes(hashlib.sha256(f"{component}/{name}".encode()).digest()[:4], "big")
    # RandomState, for its stream is frozen for good; numpy may change default_rng's.
    stream = np.random.RandomState(number)
    if component == "vae" and shape[2:] == (3, 3):
        values = stream.standard_normal(shape[:2])[..., None, None] * BLUR
        size = np.sqrt(shape[1])
    else:
        values = stream.standard_normal(shape)
        size = 1.0 if name.endswith(EMBEDDINGS) else np.sqrt(np.prod(shape[1:]))
    gains = DEMO_RECIPE["gains"].get(component, {})
    gain = np.prod([factor for part, factor in gains.items() if part in name])
    scaled: NDArray[np.float32] = (values * (gain / size)).astype(np.float32)
    return scaled


def tokens(words: str) -> tuple[dict[str, int], list[str]]:
    """Vocabulary and merges of a byte-level BPE in which each of `words` is one token.

    Any text can be spelt: the first 512 tokens are the bytes, inside a word and at its end.
    """
    letters = list(_byte_letters().values())
    names = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in words.split():
        pieces = merged([*word[:-1], f"{word[-1]}</w>"], merges)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            names.append(pieces[0])
    unique = dict.fromkeys([*names, START, END])
    vocabulary = {name: number for number, name in enumerate(unique)}
    return vocabulary, [" ".join(pair) for pair in merges]


def merged(pieces: list[str], merges: list[tuple[str, str]]) -> list[str]:
    """Pieces of a word after the merges that are known so far, the earlier before the later."""
    for left, right in merges:
        joined: list[str] = []
        for piece in pieces:
            if piece == right and joined and joined[-1] == left:
                joined[-1] += piece
            else:
                joined.append(piece)
        pieces = joined
    return pieces


def _byte_letters() -> dict[int, str]:
    """The printable letter that stands for each byte in the vocabularies of GPT-2 and CLIP."""
    from transformers.models.clip.tokenization_clip import bytes_to_unicode

    return dict(bytes_to_unicode())


def _write_tokenizer(place: Path, vocabulary: dict[str, int], merges: list[str], pad: str) -> None:
    _json(place / "vocab.json", vocabulary)
    (place / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", "utf-8")
    _json(place / "tokenizer_config.json", {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": DEMO_RECIPE["text_encoder"]["max_position_embeddings"],
        "do_lower_case": True, "bos_token": START, "eos_token": END, "unk_token": END,
        "pad_token": pad,
    })  # fmt: skip


def _json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
