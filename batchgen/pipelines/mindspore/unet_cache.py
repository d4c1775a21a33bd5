"""A UNet that keeps the output of its deep blocks between steps, after DeepCache.

Ma, Fang, Wang: DeepCache, arXiv 2312.00858, with the uniform schedule and the branches of the
authors' package. On the way down a UNet sets features aside, on the way up it takes them again,
last in, first out: its skip connections. What is above connection number `branch` is shallow and
runs on every step; what is below is deep, changes little from step to step, and runs on every n-th.

The blocks are mindone's own and are only called, in the order of its `UNet2DConditionModel`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@contextmanager
def unet_cached(pipe: Any, every: int, branch: int) -> Iterator[None]:
    """Let a pipeline of mindone's use a UNet cache for one call; it is gone afterwards.

    Args:
        pipe: The pipeline.
        every: The deep blocks run on every so many-th step; 0 is no cache.
        branch: The skip connection below which is deep, from the outermost, 0.
    """
    if not every:
        yield
        return
    unet = pipe.unet
    pipe.unet = CachedUnet(unet, every, branch)
    try:
        yield
    finally:
        pipe.unet = unet


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer of the way down or up; None is what it does not have."""

    resnet: Any = None
    attention: Any = None
    sampler: Any = None
    """Halves or doubles the size: alone on the way down, behind the rest on the way up."""


@dataclass(frozen=True, slots=True)
class _Conditions:
    """What a step gives to all layers."""

    embedding: Any
    """Of the step, the sizes and the pooled text."""
    text: Any
    """The embeddings of the prompts, token by token."""
    down: Sequence[Any] | None
    """What controls add to each skip connection."""
    middle: Any
    """What controls add to the output of the middle block; None without."""


class CachedUnet:
    """Stands in for a UNet during one call of its pipeline; all but the call is the UNet's own."""

    def __init__(self, unet: Any, every: int, branch: int) -> None:
        """Look at the blocks. Raises `ValueError` for a branch that the UNet does not have."""
        self._unet = unet
        self._every = every
        self._down, self._up = list(_down_layers(unet)), list(_up_layers(unet))
        if branch >= len(self._up):
            last = len(self._up) - 1
            raise ValueError(f"unet_cache_branch={branch}: the last of this UNet is {last}.")
        self._branch = branch
        self._n_calls = 0
        self._kept: Any = None
        """What the deep blocks gave last, as the layer at `branch` takes it."""

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the UNet."""
        return getattr(self._unet, name)

    def __call__(
        self,
        sample: Any,
        timestep: Any,
        encoder_hidden_states: Any,
        *,
        added_cond_kwargs: dict[str, Any],
        **further: Any,
    ) -> tuple[Any]:
        """Return the prediction of one step, as mindone's pipeline asks for it.

        Of what else mindone's UNet takes, the guidance of distilled weights and the residuals of
        controls are known. Raises `ValueError` for more, which would be passed over.
        """
        guidance = further.pop("timestep_cond", None)
        down = further.pop("down_block_additional_residuals", None)
        middle = further.pop("mid_block_additional_residual", None)
        strange = [
            name for name, value in further.items() if value is not None and value is not False
        ]
        if strange:
            raise ValueError(f"a UNet cache does not know {', '.join(strange)}")
        unet = self._unet
        time = unet.time_embedding(unet.get_time_embed(sample=sample, timestep=timestep), guidance)
        beside = {
            "encoder_hidden_states": encoder_hidden_states,
            "added_cond_kwargs": added_cond_kwargs,
        }
        conditions = _Conditions(
            embedding=time + unet.get_aug_embed(emb=time, **beside),
            text=unet.process_encoder_hidden_states(**beside),
            down=down,
            middle=middle,
        )
        hidden = self._hidden(unet.conv_in(sample), conditions)
        return (unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden))),)

    def _hidden(self, sample: Any, conditions: _Conditions) -> Any:
        """Go down and up again, all the way on every n-th call, else down to the branch."""
        is_whole = self._n_calls % self._every == 0
        self._n_calls += 1
        # A doubling that would not give back an odd size is told the size to give.
        divisor = 2**self._unet.num_upsamplers
        is_odd = any(side % divisor for side in sample.shape[-2:])
        skips = [sample]
        for layer in self._down if is_whole else self._down[: self._branch]:
            skips.append(_passed(layer, skips[-1], conditions))
        hidden = self._middle(skips[-1], conditions) if is_whole else self._of_before(sample)
        if conditions.down is not None:
            skips = [skip + more for skip, more in zip(skips, conditions.down, strict=False)]
        while skips:
            connection = len(skips) - 1
            if connection == self._branch:
                self._kept = hidden
            joined = _joined(hidden, skips.pop())
            size = skips[-1].shape[2:] if is_odd and skips else None
            hidden = _passed(self._up[connection], joined, conditions, size)
        return hidden

    def _middle(self, hidden: Any, conditions: _Conditions) -> Any:
        hidden = self._unet.mid_block(hidden, conditions.embedding, **_of_attention(conditions))
        return hidden if conditions.middle is None else hidden + conditions.middle

    def _of_before(self, sample: Any) -> Any:
        """Return what is kept, for the batch at hand.

        Where guidance has ended since, that is the half of it that the prompts guided to.
        """
        return self._kept[self._kept.shape[0] - sample.shape[0] :]


def _down_layers(unet: Any) -> Iterator[_Layer]:
    """Yield what makes each skip connection from the one before it, from number 1 on."""
    for block in unet.down_blocks:
        for resnet, attention in zip(block.resnets, _attentions(block), strict=True):
            yield _Layer(resnet, attention)
        for sampler in block.downsamplers or ():
            yield _Layer(sampler=sampler)


def _up_layers(unet: Any) -> Iterator[_Layer]:
    """Yield what takes each skip connection, from number 0 on; they run in reverse order."""
    for block in reversed(list(unet.up_blocks)):
        samplers = [*(block.upsamplers or ())]
        layers = list(zip(block.resnets, _attentions(block), strict=True))
        for at, (resnet, attention) in reversed(list(enumerate(layers))):
            is_last = at == len(layers) - 1
            yield _Layer(resnet, attention, samplers[0] if samplers and is_last else None)


def _attentions(block: Any) -> list[Any]:
    return [*block.attentions] if block.has_cross_attention else [None] * len(block.resnets)


def _passed(layer: _Layer, hidden: Any, conditions: _Conditions, size: Any = None) -> Any:
    """Pass hidden states through a layer; `size` is what a doubling must come to."""
    if layer.resnet is not None:
        hidden = layer.resnet(hidden, conditions.embedding)
    if layer.attention is not None:
        hidden = layer.attention(hidden, **_of_attention(conditions), return_dict=False)[0]
    if layer.sampler is None:
        return hidden
    if layer.resnet is None:
        return layer.sampler(hidden)
    return layer.sampler(hidden, size)


def _of_attention(conditions: _Conditions) -> dict[str, Any]:
    """Return what transformers take besides the hidden states."""
    return {
        "encoder_hidden_states": conditions.text,
        "cross_attention_kwargs": None,
        "attention_mask": None,
        "encoder_attention_mask": None,
    }


def _joined(hidden: Any, skip: Any) -> Any:
    from mindspore import mint

    return mint.cat([hidden, skip], dim=1)
