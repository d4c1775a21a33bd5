"""How many tokens a prompt has for CLIP's text encoders, without loading a model.

The pipeline counts again with the tokenizer it encodes with (transformers' `CLIPTokenizer`); this
one has its rules and its files, is a few times faster, and is quick to import. A test compares the
two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice
from pathlib import Path

from batchgen.model import prompt_weights

CHUNK = 75
"""Tokens that a text encoder of SDXL takes, beside the marks of beginning and end."""

Counter = Callable[[Sequence[str]], list[int]]
"""Texts to how many tokens each has."""

_MARKS = ["<|startoftext|>", "<|endoftext|>"]
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def counter(folder: Path, *, weighted: bool = False) -> Counter:
    """Return what counts the tokens of texts, marks not counted; `folder` holds the vocabulary.

    A token stands for a byte at least, so a text of `CHUNK` bytes needs no counting. `weighted`
    texts are read as `weighting` reads them.
    """
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    vocabulary, merges = str(folder / "vocab.json"), str(folder / "merges.txt")
    model = BPE.from_file(vocabulary, merges, end_of_word_suffix="</w>", unk_token=_MARKS[1])
    tokenizer = Tokenizer(model)
    cleaned = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    lower = [normalizers.NFC(), normalizers.Lowercase()]
    tokenizer.normalizer = normalizers.Sequence([cleaned, *lower])
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, letters])
    tokenizer.add_special_tokens(_MARKS)

    def count(texts: Sequence[str]) -> list[int]:
        pieces = [_pieces(text, weighted=weighted) for text in texts]
        encoded = tokenizer.encode_batch_fast([*chain(*pieces)], add_special_tokens=False)
        lengths = iter([len(one.ids) for one in encoded])
        return [sum(islice(lengths, len(own))) for own in pieces]

    return count


def _pieces(text: str, *, weighted: bool) -> list[str]:
    return [piece.text for piece in prompt_weights.pieces(text)] if weighted else [text]
