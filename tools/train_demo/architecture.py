"""The demo model's configs and tokenizers: those of SDXL, but for their sizes."""

from __future__ import annotations

from typing import Any

from tools.train_demo.scenes import COLOURS, PLACES, RADII, RELATIONS, SHAPES, SIDE

START, END = "<|startoftext|>", "<|endoftext|>"

UNET: dict[str, Any] = {
    "sample_size": SIDE // 8, "in_channels": 4, "out_channels": 4, "layers_per_block": 1,
    "block_out_channels": [64, 96, 128], "norm_num_groups": 16,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 1, 1], "attention_head_dim": [2, 3, 4],
    "cross_attention_dim": 128, "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 6 * 32 + 64,
}  # fmt: skip

VAE: dict[str, Any] = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "sample_size": SIDE,
    "block_out_channels": [32, 48, 64, 64], "layers_per_block": 1, "norm_num_groups": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "force_upcast": True,
}  # fmt: skip

TEXT: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2,
    "projection_dim": 64, "max_position_embeddings": 77, "hidden_act": "quick_gelu",
}  # fmt: skip
"""Of both encoders; the second has plain gelu, as in SDXL. The UNet sees the last layer but one."""

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "prediction_type": "epsilon", "clip_sample": False,
    "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "timestep_spacing": "leading", "interpolation_type": "linear", "use_karras_sigmas": False,
}  # fmt: skip


def words() -> list[str]:
    """Every word a caption can hold, each once."""
    phrases = [*COLOURS, *SHAPES, *RADII, *PLACES, *RELATIONS, "a an , background"]
    return list(dict.fromkeys(word for phrase in phrases for word in phrase.split()))


def vocabulary() -> tuple[dict[str, int], list[str]]:
    """Token numbers and merges of a byte-level BPE in which each of `words` is one token.

    The format is that of CLIP's vocab.json and merges.txt. Any text can be spelt: the first 512
    tokens are the bytes, inside a word and at its end.
    """
    from transformers.models.clip.tokenization_clip import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in words():
        pieces = _merged([*word[:-1], f"{word[-1]}</w>"], merges)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
            tokens.append(pieces[0])
    unique = dict.fromkeys([*tokens, START, END])
    return {token: number for number, token in enumerate(unique)}, [" ".join(m) for m in merges]


def _merged(pieces: list[str], merges: list[tuple[str, str]]) -> list[str]:
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


def tokenizer_config(pad: str) -> dict[str, Any]:
    """What tokenizer_config.json says."""
    return {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": TEXT["max_position_embeddings"],
        "do_lower_case": True, "bos_token": START, "eos_token": END, "unk_token": END,
        "pad_token": pad,
    }  # fmt: skip


def text_config(pad: str, hidden_act: str) -> dict[str, Any]:
    """Arguments of transformers' CLIPTextConfig."""
    tokens, _ = vocabulary()
    return TEXT | {
        "vocab_size": len(tokens), "bos_token_id": tokens[START], "eos_token_id": tokens[END],
        "pad_token_id": tokens[pad], "hidden_act": hidden_act,
    }  # fmt: skip


MODEL_INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionXLPipeline",
    "force_zeros_for_empty_prompt": True,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
