"""Prompts as the model sees them: encoded once, in chunks, with weights; real MindSpore."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from batchgen.config.settings import Settings
from batchgen.errors import ImageError
from batchgen.pipelines.mindspore import prompts
from batchgen.pipelines.mindspore.sdxl import SdxlPipeline
from batchgen.plan.requests import ImageRequest

LONG = " ".join(["a"] * 80 + ["red"] * 3)
"""More than one chunk, and not yet two: `a` is one token to any tokenizer of CLIP's kind."""


def settings(prompt: str = "a cat", **changes: Any) -> Settings:
    """The settings of a small image of two steps."""
    base = Settings(prompt=prompt, prompt_2=None, seed=1, steps=2, width=64, height=64)
    return dataclasses.replace(base, **changes)


def pixels(pipeline: SdxlPipeline, *call: Settings) -> NDArray[np.int16]:
    """The pictures of one call, wide enough to subtract."""
    images = [
        ImageRequest("0", 0, 0, one, "0" * 16, 0, is_pending=True, carried={}) for one in call
    ]
    made = pipeline.generate(images).pictures
    return np.stack([picture.pixels for picture in made]).astype(np.int16)


def encoded(pipeline: SdxlPipeline, **changes: Any) -> dict[str, NDArray[np.float32]]:
    """The arguments of one image's call."""
    arguments = pipeline.prompts.arguments([pipeline.prompts.prompt(settings(**changes))])
    return {name: tensor.asnumpy() for name, tensor in arguments.items()}


def test_a_prompt_is_encoded_as_mindone_encodes_it(pipeline: SdxlPipeline) -> None:
    """To the bit: with a negative prompt, with the zeros that stand for none, skipping a layer."""
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds",
             "negative_pooled_prompt_embeds")  # fmt: skip
    for negative, skip in (("dark", 0), ("", 0), ("dark", 1)):
        ours = encoded(pipeline, prompt_2="a tree", negative_prompt=negative, clip_skip=skip)
        theirs = pipeline.pipe.encode_prompt(
            "a cat", "a tree", negative_prompt=negative or None, clip_skip=skip
        )
        for name, wanted in zip(names, theirs, strict=True):
            np.testing.assert_array_equal(ours[name], wanted.asnumpy())


def test_a_cut_prompt_is_cut_where_mindone_cuts_it(pipeline: SdxlPipeline) -> None:
    """After 75 tokens and before the mark of the end."""
    theirs = pipeline.pipe.encode_prompt(LONG, do_classifier_free_guidance=False)
    ours = encoded(pipeline, prompt=LONG)
    np.testing.assert_array_equal(ours["prompt_embeds"], theirs[0].asnumpy())
    np.testing.assert_array_equal(ours["pooled_prompt_embeds"], theirs[2].asnumpy())


def test_kept_embeddings_cost_nothing_and_change_nothing(pipeline: SdxlPipeline) -> None:
    """A prompt is encoded once for all its seeds."""
    one = settings("never seen before", negative_prompt="nor this")
    before = pipeline.prompts.encoded
    first = pixels(pipeline, one)
    pixels(pipeline, one, dataclasses.replace(one, seed=3))
    assert pipeline.prompts.encoded == before + 2
    np.testing.assert_array_equal(first, pixels(pipeline, one))


def test_only_the_latest_embeddings_are_kept(
    pipeline: SdxlPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of ten million prompts needs no more memory than one of ten."""
    monkeypatch.setattr(prompts, "KEPT_EMBEDDINGS", 2)
    pipeline.prompts._kept.clear()
    for prompt in ("one", "two", "one", "three"):
        pipeline.prompts.prompt(settings(prompt, guidance_scale=1.0))
    assert [text.prompt for text in pipeline.prompts._kept] == ["one", "three"]


def test_a_tokenizer_that_names_no_most_fills_what_the_encoder_takes(
    pipeline: SdxlPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Converted models lack the line; transformers takes 10**30 tokens then."""
    monkeypatch.setattr(pipeline.pipe.tokenizer, "model_max_length", 10**30)
    monkeypatch.setattr(pipeline.pipe.tokenizer_2, "model_max_length", 10**30)
    own = prompts.Prompts(pipeline.pipe, pipeline.prompts._ms)
    assert own.prompt(settings()).towards.length == 77


def test_guidance_off_needs_no_negative_prompt(pipeline: SdxlPipeline) -> None:
    """At 1 and below it has no effect and is not even encoded."""
    before = pipeline.prompts.encoded
    first = pixels(pipeline, settings("lonely", negative_prompt="not seen", guidance_scale=1.0))
    assert pipeline.prompts.encoded == before + 1
    other = settings("lonely", negative_prompt="other", guidance_scale=0.0)
    np.testing.assert_array_equal(first, pixels(pipeline, other))


@pytest.mark.parametrize("prompt", ["", "城市夜景 🌃", "naïve\u0301 \x07 مرحبا", "((", "\\"])
def test_any_prompt_makes_a_picture(pipeline: SdxlPipeline, prompt: str) -> None:
    """No text of a table is beyond the tokenizer, with weights or without."""
    for weighting in (False, True):
        assert pixels(pipeline, settings(prompt, weighting=weighting)).std() > 1


def test_a_cut_prompt_is_warned_of_once_by_its_first_lost_word(
    pipeline: SdxlPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """The 76th word is the first that is not seen."""
    one = settings(" ".join(["a"] * 75 + ["zebra", "tree"]))
    pixels(pipeline, one, dataclasses.replace(one, seed=2))
    (record,) = caplog.records
    assert "cut after 75 tokens: the model sees nothing from 'zebra' on" in record.getMessage()


def test_a_word_that_is_cut_in_two_is_named_whole(
    pipeline: SdxlPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    """Spelt letter by letter, a word may begin inside and end outside."""
    pipeline.prompts.prompt(settings(" ".join(["a"] * 73 + ["xqzjvk"])))
    assert "'xqzjvk'" in caplog.text


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"prompt": "a a a"}, (3, False)),
        ({"prompt": " ".join("a" * 75)}, (75, False)),
        ({"prompt": " ".join("a" * 76)}, (76, True)),
        ({"prompt": " ".join("a" * 76), "long_prompt": "chunk"}, (76, False)),
        ({"prompt": "(a:1.2) a", "weighting": True}, (2, False)),
        ({"prompt": "a", "prompt_2": LONG}, (1, True)),
        ({"prompt": "a", "negative_prompt": LONG}, (1, True)),
        ({"prompt": "a", "negative_prompt": LONG, "guidance_scale": 1.0}, (1, False)),
    ],
)
def test_tokens_are_counted_and_a_cut_is_told(
    pipeline: SdxlPipeline, changes: dict[str, Any], wanted: tuple[int, bool]
) -> None:
    """Marks are not counted; a cut of any text that is used counts."""
    prompt = pipeline.prompts.prompt(settings(**changes))
    assert (prompt.towards.token_count, prompt.truncated) == wanted


def test_a_short_prompt_is_the_same_in_chunks(pipeline: SdxlPipeline) -> None:
    """One chunk is what there was before, to the bit."""
    for name, wanted in encoded(pipeline, negative_prompt="dark").items():
        chunked = encoded(pipeline, negative_prompt="dark", long_prompt="chunk")
        np.testing.assert_array_equal(chunked[name], wanted)


def test_a_long_prompt_is_encoded_75_tokens_at_a_time(pipeline: SdxlPipeline) -> None:
    """Chunks side by side, the second with marks of its own; pooled is the first's."""
    whole = encoded(pipeline, prompt=LONG, long_prompt="chunk")
    first = encoded(pipeline, prompt=" ".join("a" * 75))
    second = encoded(pipeline, prompt=" ".join([*"a" * 5, *["red"] * 3]))
    joined = np.concatenate([first["prompt_embeds"], second["prompt_embeds"]], axis=1)
    np.testing.assert_array_equal(whole["prompt_embeds"], joined)
    np.testing.assert_array_equal(whole["pooled_prompt_embeds"], first["pooled_prompt_embeds"])


@pytest.mark.parametrize("changes", [{"prompt": LONG, "negative_prompt": "dark"},
                                     {"prompt": LONG, "negative_prompt": ""},
                                     {"prompt": "a", "negative_prompt": LONG},
                                     {"prompt": "a", "prompt_2": LONG}])  # fmt: skip
def test_both_sides_are_as_long_as_the_longer(
    pipeline: SdxlPipeline, changes: dict[str, str]
) -> None:
    """The shorter goes on with chunks of an empty text, or with zeros."""
    arguments = encoded(pipeline, long_prompt="chunk", **changes)
    assert arguments["prompt_embeds"].shape[1] == 154
    assert arguments["negative_prompt_embeds"].shape[1] == 154


def test_a_picture_does_not_depend_on_the_length_of_its_neighbours_prompts(
    pipeline: SdxlPipeline,
) -> None:
    """Long and short ones in one batch, in any order: as alone, but for the last bit."""
    call = [settings(prompt, long_prompt="chunk", negative_prompt="dark", seed=seed)
            for seed, prompt in enumerate(["a cat", LONG, "a tree", f"{LONG} {LONG}"])]  # fmt: skip
    together = pixels(pipeline, *call)
    for picture, one in zip(together, call, strict=True):
        assert abs(picture - pixels(pipeline, one)[0]).max() <= 1


def test_a_weight_multiplies_the_embeddings_of_its_tokens(pipeline: SdxlPipeline) -> None:
    """And of no other; marks and padding keep theirs."""
    plain = encoded(pipeline, prompt="a a a")["prompt_embeds"]
    weighted = encoded(pipeline, prompt="a (a:1.5) a", weighting=True)["prompt_embeds"]
    np.testing.assert_array_equal(weighted[:, 2], plain[:, 2] * np.float32(1.5))
    others = [n for n in range(plain.shape[1]) if n != 2]
    np.testing.assert_array_equal(weighted[:, others], plain[:, others])


def test_brackets_are_text_unless_weights_are_asked_for(pipeline: SdxlPipeline) -> None:
    """`(cat:1.5)` has more tokens than a cat."""
    assert pipeline.prompts.prompt(settings("(a:1.5)")).towards.token_count > 1


def test_a_weight_of_the_second_prompt_is_its_own(pipeline: SdxlPipeline) -> None:
    """Each text encoder has its half of the embedding."""
    plain = encoded(pipeline, prompt="a", prompt_2="a")["prompt_embeds"]
    weighted = encoded(pipeline, prompt="a", prompt_2="(a:2)", weighting=True)["prompt_embeds"]
    width = pipeline.pipe.text_encoder.config.hidden_size
    np.testing.assert_array_equal(weighted[..., :width], plain[..., :width])
    np.testing.assert_array_equal(weighted[:, 1, width:], plain[:, 1, width:] * 2)


def test_more_layers_than_there_are_cannot_be_skipped(pipeline: SdxlPipeline) -> None:
    """SDXL's text encoders have twelve and more, the demo's have fewer."""
    n_layers = pipeline.pipe.text_encoder.config.num_hidden_layers
    pipeline.prompts.prompt(settings(clip_skip=n_layers - 1))
    with pytest.raises(ImageError, match=f"clip_skip={n_layers} leaves no layer"):
        pipeline.prompts.prompt(settings(clip_skip=n_layers))
