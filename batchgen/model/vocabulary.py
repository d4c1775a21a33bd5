"""Whether the files of a tokenizer are whole, and of the same model as a text encoder."""

from __future__ import annotations

from pathlib import Path

from batchgen.config.counts import counted
from batchgen.errors import ModelError
from batchgen.model.model_file import AGAIN, file_errors, parsed

BYTE_TOKENS = 514
"""Tokens of a vocabulary that has learned no word: each byte, within a word and at its end, and
the two marks."""


def refuse_other(place: Path, encoder: str, n_tokens: int) -> None:
    """Raise `ModelError` unless each merge gives a token, and the text encoder has all tokens.

    Args:
        place: The folder of the tokenizer.
        encoder: The name of its text encoder.
        n_tokens: How many tokens the encoder has.
    """
    tokens, merges = parsed(place / "vocab.json"), _merges(place / "merges.txt")
    if not all(isinstance(number, int) for number in tokens.values()):
        raise ModelError(f"{place / 'vocab.json'} does not number its tokens. {AGAIN}")
    unknown = next((line for line in merges if line.replace(" ", "", 1) not in tokens), None)
    if (
        unknown is not None
        or len(tokens) < BYTE_TOKENS
        or (len(tokens) > BYTE_TOKENS and not merges)
    ):
        raise ModelError(
            f"{place} is not a complete tokenizer: vocab.json has {counted(len(tokens), 'token')}, "
            f"merges.txt {counted(len(merges), 'line')}, and they do not belong together. {AGAIN}"
        )
    if max(tokens.values()) >= n_tokens:
        raise ModelError(
            f"{place / 'vocab.json'} numbers its tokens up to {max(tokens.values()):,}, and "
            f"{encoder} has {n_tokens:,}. They do not belong together; take both from one model."
        )


def _merges(file: Path) -> list[str]:
    """Return the merges of a tokenizer, each two parts with a space between."""
    try:
        with file_errors(file):
            lines = file.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ModelError(f"{file} is not UTF-8 text: {error}. {AGAIN}") from error
    return [line for line in lines if line and not line.startswith("#version")]
