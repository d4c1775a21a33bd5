"""Prompts as SDXL sees them: embeddings of both text encoders, in chunks and with weights.

A text encoder takes 77 tokens, two of them marks. What is over 75 is cut, or encoded 75 at a time
and set side by side. A weight multiplies the embeddings of its tokens, and nothing is rescaled
afterwards. A prompt of one chunk without weights gives what mindone's `encode_prompt` gives, to the
bit.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from batchgen.config.setting_choices import LongPrompt
from batchgen.config.settings import Settings
from batchgen.errors import ImageError
from batchgen.model import prompt_weights

logger = logging.getLogger(__name__)

KEPT_EMBEDDINGS = 256
"""Prompts whose embeddings stay on the device: 0.3 MiB a chunk for SDXL in float16."""

SHOWN_CHARS = 80
"""How much of a long prompt a warning quotes."""

MARKS = 2
"""Tokens that begin and end what a text encoder is given."""


class Token(NamedTuple):
    """A token of a tokenizer's vocabulary, and what its embedding is multiplied by."""

    number: int
    weight: float


class Text(NamedTuple):
    """What is encoded, and how."""

    prompt: str
    prompt_2: str
    """For the second text encoder."""
    clip_skip: int
    chunked: bool
    weighted: bool
    adapters: str
    """The LoRAs that the text encoders have, and their weights."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """A text as the UNet is given it."""

    states: Any
    """(1, chunks x 77, width of both encoders)."""
    pooled: Any
    """(1, width of the second encoder), of the first chunk."""
    token_count: int
    """Tokens of `prompt`, without the marks."""
    is_cut: bool

    @property
    def length(self) -> int:
        """Tokens, with marks and padding."""
        return int(self.states.shape[1])


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and what it is guided away from, equally long."""

    towards: Embedding
    against: Embedding | None
    """None without guidance."""

    @property
    def truncated(self) -> bool:
        """Whether the end of any text was cut off."""
        return self.towards.is_cut or (self.against is not None and self.against.is_cut)


class Prompts:
    """Encodes prompts one at a time, not with neighbours, and keeps the latest."""

    def __init__(self, pipe: Any, ms: Any) -> None:
        """Take the tokenizers and text encoders of a `StableDiffusionXLPipeline`."""
        self._pipe = pipe
        self._ms = ms
        self._encoders = (
            _Encoder(pipe.tokenizer, pipe.text_encoder, ms),
            _Encoder(pipe.tokenizer_2, pipe.text_encoder_2, ms),
        )
        self._kept: OrderedDict[Text, Embedding] = OrderedDict()
        self.encoded = 0
        """How many texts went through the text encoders so far."""

    def prompt(self, settings: Settings, adapters: str = "") -> Prompt:
        """The prompt of an image; both of its sides as long as the longer.

        `adapters` are those that the text encoders have now.
        """
        chunked = settings.long_prompt == LongPrompt.chunk
        prompt_2 = settings.prompt_2 or settings.prompt
        text = Text(
            settings.prompt, prompt_2, settings.clip_skip, chunked, settings.weighting, adapters
        )
        towards = self._embedding(text)
        if settings.guidance_scale <= 1:
            return Prompt(towards, None)
        negative = settings.negative_prompt
        if not negative and self._pipe.config.force_zeros_for_empty_prompt:
            zeros_like = self._ms.mint.zeros_like
            zeros = Embedding(zeros_like(towards.states), zeros_like(towards.pooled), 0, False)
            return Prompt(towards, zeros)
        # As in diffusers, no layers are skipped on this side.
        other = Text(negative, negative, 0, chunked, settings.weighting, adapters)
        against = self._embedding(other)
        longest = max(towards.length, against.length)
        return Prompt(self._padded(towards, longest, text), self._padded(against, longest, other))

    def arguments(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """Arguments of the pipeline's call for prompts of equal length, all guided or none."""
        cat = self._ms.mint.cat
        towards = [prompt.towards for prompt in prompts]
        against = [prompt.against for prompt in prompts if prompt.against is not None]
        arguments = {
            "prompt_embeds": cat([one.states for one in towards], dim=0),
            "pooled_prompt_embeds": cat([one.pooled for one in towards], dim=0),
        }
        if against:
            arguments |= {
                "negative_prompt_embeds": cat([one.states for one in against], dim=0),
                "negative_pooled_prompt_embeds": cat([one.pooled for one in against], dim=0),
            }
        return arguments

    def _embedding(self, text: Text) -> Embedding:
        if text in self._kept:
            self._kept.move_to_end(text)
            return self._kept[text]
        embedding = self._kept[text] = self._encoded(text)
        if len(self._kept) > KEPT_EMBEDDINGS:
            self._kept.popitem(last=False)
        return embedding

    def _encoded(self, text: Text) -> Embedding:
        texts = (text.prompt, text.prompt_2)
        tokens = [
            encoder.tokens(one, weighted=text.weighted)
            for encoder, one in zip(self._encoders, texts, strict=True)
        ]
        room = self._encoders[0].room
        is_cut = not text.chunked and any(len(own) > room for own in tokens)
        if is_cut:
            self._encoders[0].warn_if_cut(text.prompt, tokens[0])
            if text.prompt_2 != text.prompt:
                self._encoders[1].warn_if_cut(text.prompt_2, tokens[1])
        n_chunks = max(1, *(-(-len(own) // room) for own in tokens)) if text.chunked else 1
        encoded = [
            encoder.states(own, n_chunks, text.clip_skip)
            for encoder, own in zip(self._encoders, tokens, strict=True)
        ]
        states = self._ms.mint.concat([states for states, _ in encoded], dim=-1)
        states = states.to(dtype=self._pipe.text_encoder_2.dtype)
        self.encoded += 1
        return Embedding(states, encoded[1][1], len(tokens[0]), is_cut)

    def _padded(self, embedding: Embedding, length: int, like: Text) -> Embedding:
        """An embedding with chunks of an empty text behind it."""
        missing = (length - embedding.length) // (self._encoders[0].room + MARKS)
        if not missing:
            return embedding
        empty = self._embedding(like._replace(prompt="", prompt_2=""))
        states = self._ms.mint.cat([embedding.states, *[empty.states] * missing], dim=1)
        return replace(embedding, states=states)


class _Encoder:
    """A tokenizer and its text encoder."""

    def __init__(self, tokenizer: Any, model: Any, ms: Any) -> None:
        self._tokenizer = tokenizer
        self._model = model
        self._ms = ms
        # A tokenizer whose files name no most takes 10**30.
        most = min(tokenizer.model_max_length, model.config.max_position_embeddings)
        self.room = int(most) - MARKS
        """Tokens of a chunk, without the marks."""

    def tokens(self, text: str, *, weighted: bool) -> list[Token]:
        """The tokens of a text, without marks; read piece by piece where there are weights."""
        pieces = prompt_weights.pieces(text) if weighted else [prompt_weights.Piece(text, 1.0)]
        return [
            Token(number, piece.weight)
            for piece in pieces
            for number in self._tokenizer(
                piece.text, add_special_tokens=False, verbose=False
            ).input_ids
        ]

    def states(self, tokens: list[Token], n_chunks: int, clip_skip: int) -> tuple[Any, Any]:
        """Hidden states, (1, chunks x 77, width), and the first chunk's pooled output."""
        chunks = [tokens[at * self.room : (at + 1) * self.room] for at in range(n_chunks)]
        encoded = [self._chunk(chunk, clip_skip) for chunk in chunks]
        states = [state for state, _ in encoded]
        return (self._ms.mint.cat(states, dim=1) if n_chunks > 1 else states[0]), encoded[0][1]

    def _chunk(self, tokens: list[Token], clip_skip: int) -> tuple[Any, Any]:
        ms, tokenizer = self._ms, self._tokenizer
        begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        padding = [tokenizer.pad_token_id] * (self.room - len(tokens))
        numbers = [begin, *(token.number for token in tokens), end, *padding]
        output = self._model(ms.tensor([numbers], ms.int64), output_hidden_states=True)
        layers = output[-1]
        if clip_skip + 2 > len(layers):
            raise ImageError(
                f"clip_skip={clip_skip} leaves no layer: a text encoder of this model has "
                f"{len(layers) - 1}, so {len(layers) - 2} is the most. "
                "Lower sampling.clip_skip, or the row's own."
            )
        states = layers[-(clip_skip + 2)]
        if any(token.weight != 1 for token in tokens):
            weights = [1.0, *(token.weight for token in tokens), 1.0, *(1.0 for _ in padding)]
            states = states * ms.tensor([weights], states.dtype)[..., None]
        return states, output[0]

    def warn_if_cut(self, prompt: str, tokens: list[Token]) -> None:
        """Log a warning if the end of a prompt is not seen, and from which word on."""
        if len(tokens) <= self.room:
            return
        numbers = [token.number for token in tokens]
        seen, unseen = (
            self._tokenizer.decode(part, skip_special_tokens=True).split()
            for part in (numbers[: self.room], numbers[self.room :])
        )
        last = self._tokenizer.convert_ids_to_tokens(numbers[self.room - 1])
        word = unseen[0] if last.endswith("</w>") or not seen else seen[-1] + unseen[0]
        logger.warning(
            "The prompt %r is cut after %d tokens: the model sees nothing from %r on. "
            "sampling.long_prompt=chunk encodes it whole.",
            prompt if len(prompt) <= SHOWN_CHARS else prompt[: SHOWN_CHARS - 1] + "…",
            self.room,
            word,
        )
