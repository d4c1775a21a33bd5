"""Train the UNet and both text encoders together, on latents that were encoded beforehand."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file
from torch import multiprocessing, nn
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tools.train_demo.architecture import END, SCHEDULER, UNET, text_config
from tools.train_demo.autoencoder import NOISE, rate
from tools.train_demo.scenes import SIDE, Scene, caption, drawn, training_scene

BATCH = 64

DROPPED = 0.12
"""Share of captions left out, half as SDXL's zeros and half as an empty prompt, for guidance."""

ODD_SIZES = 0.15
"""Share of pictures that come with a made-up micro-conditioning, so that no value of it is odd."""


class Denoiser(nn.Module):
    """What the pipeline calls `unet`, `text_encoder` and `text_encoder_2`."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(**UNET)
        # Products of small matrices beat the fused attention of a CPU in training.
        self.unet.set_attn_processor(AttnProcessor())
        first, second = text_config(END, "quick_gelu"), text_config("!", "gelu")
        self.text_encoder = CLIPTextModel(CLIPTextConfig(**first, attn_implementation="eager"))
        self.text_encoder_2 = CLIPTextModelWithProjection(
            CLIPTextConfig(**second, attn_implementation="eager")
        )

    @classmethod
    def of(cls, folder: Path) -> Denoiser:
        """The parts of a model's folder, to go on from."""
        model = cls()
        parts = {
            "unet": "diffusion_pytorch_model",
            "text_encoder": "model",
            "text_encoder_2": "model",
        }
        for name, stem in parts.items():
            tensors = load_file(folder / name / f"{stem}.safetensors")
            getattr(model, name).load_state_dict(tensors)
        return model.float()

    def forward(
        self, noisy: torch.Tensor, steps: torch.Tensor, tokens: list[torch.Tensor],
        is_dropped: torch.Tensor, time_ids: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """The noise in `noisy`, (n, 4, 16, 16); `tokens` are those of either tokenizer, (n, 77)."""
        first = self.text_encoder(tokens[0], output_hidden_states=True)
        second = self.text_encoder_2(tokens[1], output_hidden_states=True)
        text = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        kept = (~is_dropped).to(text.dtype)
        added = {"text_embeds": second.text_embeds * kept[:, None], "time_ids": time_ids}
        return self.unet(
            noisy, steps, text * kept[:, None, None], added_cond_kwargs=added
        ).sample  # fmt: skip


@dataclass(frozen=True)
class Examples:
    """Encoded scenes: what training draws its batches from."""

    scenes: list[Scene]
    latents: torch.Tensor
    """(n, 4, 16, 16) float32, scaled to variance one."""
    noise: float
    """Standard deviation of the VAE's own noise at this scale."""


@torch.no_grad()
def examples(vae: AutoencoderKL, count: int, dice: random.Random) -> Examples:
    """Draw and encode so many scenes."""
    scenes = [training_scene(dice) for _ in range(count)]
    parts = []
    for at in tqdm(range(0, count, BATCH), desc="encoding", unit="batch", mininterval=5):
        pictures = torch.stack([torch.tensor(drawn(scene)) for scene in scenes[at : at + BATCH]])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            values = pictures.permute(0, 3, 1, 2) / 127.5 - 1
            parts.append(vae.quant_conv(vae.encoder(values))[:, :4].float())
    scale = vae.config.scaling_factor
    return Examples(scenes, torch.cat(parts) * scale, NOISE * scale)


def weights(schedule: torch.Tensor, heaviest: float) -> torch.Tensor:
    """The loss weight of each step: that of v-prediction (Salimans and Ho 2022), with a limit.

    Plain loss on the noise hardly sees the noisiest steps, in which a picture is laid out; without
    a limit it sees little else, and shapes come out as blobs.
    """
    return (1 / schedule).clamp(max=heaviest)


@dataclass(frozen=True)
class Batch:
    """What one step learns from; n pictures."""

    latents: torch.Tensor
    """(n, 4, 16, 16) float32."""
    tokens: list[torch.Tensor]
    """Of either tokenizer, (n, 77)."""
    is_dropped: torch.Tensor
    """Whether the text is left out, (n,) bool."""
    time_ids: torch.Tensor
    """SDXL's micro-conditioning, (n, 6)."""


class Batches:
    """Endless random batches of a set of examples."""

    def __init__(
        self, data: Examples, tokenizers: list[CLIPTokenizer], dice: random.Random, pairs: float,
        count: int,
    ) -> None:  # fmt: skip
        self._data, self._tokenizers, self._dice = data, tokenizers, dice
        self._pairs, self._count = pairs, count

    def __iter__(self) -> Iterator[Batch]:
        scenes = self._data.scenes
        singles, pairs = (
            [index for index, scene in enumerate(scenes) if len(scene.things) == n] for n in (1, 2)
        )
        while True:
            chosen = [
                self._dice.choice(pairs if self._dice.random() < self._pairs else singles)
                for _ in range(self._count)
            ]
            captions = [caption(self._data.scenes[index], self._dice) for index in chosen]
            fates = [self._dice.random() for _ in chosen]
            captions = [
                "" if fate < DROPPED / 2 else text
                for fate, text in zip(fates, captions, strict=True)
            ]
            latents = self._data.latents[chosen]
            yield Batch(
                latents + self._data.noise * torch.randn_like(latents),
                [
                    tokenizer(captions, padding="max_length", return_tensors="pt").input_ids
                    for tokenizer in self._tokenizers
                ],
                torch.tensor([DROPPED / 2 <= fate < DROPPED for fate in fates]),
                self._time_ids(),
            )

    def _time_ids(self) -> torch.Tensor:
        usual = torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]] * self._count)
        odd = torch.randint(0, 1025, usual.shape)
        return torch.where(torch.rand(self._count, 1) < ODD_SIZES, odd, usual)


@dataclass(frozen=True)
class Stage:
    """How long to train, and on what."""

    steps: int
    heaviest: float
    """Largest weight of a step in the loss; see `weights`."""
    peak_rate: float
    pairs: float = 0.5
    """Share of pictures with two objects."""


@dataclass(frozen=True)
class Course:
    """A stage, from which seed and weights to which, in how many processes."""

    stage: Stage
    seed: int
    workers: int
    begin: Path
    """Weights to begin with; random ones where there is no such file."""
    end: Path
    """Where the averaged weights are written when all is done."""


class Gradients:
    """The mean of several processes' gradients, through shared memory.

    Two processes of one thread each were twice as fast as one of two: most operations are too
    small to be split.
    """

    def __init__(self, workers: int, size: int) -> None:
        self._parts = torch.zeros(workers, size).share_memory_()
        self._barrier = multiprocessing.get_context("spawn").Barrier(workers)

    def mean(self, rank: int, own: torch.Tensor) -> torch.Tensor:
        """The mean, (size,) float32, once every process has come with its own."""
        self._parts[rank] = own
        self._barrier.wait()
        mean = self._parts.mean(dim=0)
        self._barrier.wait()
        return mean


def train(data: Examples, tokenizers: list[CLIPTokenizer], course: Course) -> None:
    """Go through a course, to its file of weights."""
    size = sum(parameter.numel() for parameter in Denoiser().parameters())
    gradients = Gradients(course.workers, size)
    multiprocessing.spawn(
        _train, (data, tokenizers, course, gradients), nprocs=course.workers, join=True
    )


def loaded(path: Path) -> Denoiser:
    """The weights of a file."""
    model = Denoiser()
    model.load_state_dict(torch.load(path))
    return model


def save(model: Denoiser, path: Path) -> None:
    """Write weights to a file, which is there when it is whole."""
    draft = path.with_suffix(".part")
    torch.save(model.state_dict(), draft)
    draft.replace(path)


def _train(
    rank: int, data: Examples, tokenizers: list[CLIPTokenizer], course: Course, gradients: Gradients
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(course.seed)
    model = loaded(course.begin) if course.begin.exists() else Denoiser()
    learner = Learner(model, course, gradients, rank)
    average = copy.deepcopy(model).eval() if rank == 0 else None
    own_seed = course.seed + 1 + rank
    torch.manual_seed(own_seed)
    count = BATCH // course.workers
    batches = iter(Batches(data, tokenizers, random.Random(own_seed), course.stage.pairs, count))
    bar = tqdm(range(course.stage.steps), desc="UNet", unit="step", mininterval=5, disable=rank > 0)
    smooth = math.nan
    for step in bar:
        value = learner.step(next(batches))
        if average is None:
            continue
        _average(average, model, min(0.999, (step + 1) / (step + 10)))
        smooth = value if math.isnan(smooth) else 0.98 * smooth + 0.02 * value
        bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
    if average is not None:
        save(average, course.end)


class Learner:
    """One process's part in the training of a model; the copy that computes is in bfloat16."""

    def __init__(self, model: Denoiser, course: Course, gradients: Gradients, rank: int) -> None:
        self._model, self._gradients, self._rank = model, gradients, rank
        self._copy = copy.deepcopy(model).bfloat16()
        self._schedule = DDPMScheduler(**_known(SCHEDULER)).alphas_cumprod
        self._weights = weights(self._schedule, course.stage.heaviest)
        self._optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=course.stage.peak_rate,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            fused=True,
        )
        self._pace = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: rate(step, course.stage.steps)
        )

    def step(self, batch: Batch) -> float:
        """Learn from one batch; returns its loss."""
        noise = torch.randn_like(batch.latents)
        at = torch.randint(0, len(self._schedule), (len(noise),))
        share = self._schedule[at][:, None, None, None]
        noisy = share.sqrt() * batch.latents + (1 - share).sqrt() * noise
        guess = self._copy(noisy.bfloat16(), at, batch.tokens, batch.is_dropped, batch.time_ids)
        error = (guess.float() - noise).square().mean(dim=(1, 2, 3))
        loss = (self._weights[at] * error).mean()
        loss.backward()
        self._update()
        return loss.item()

    def _update(self) -> None:
        copies, owns = list(self._copy.parameters()), list(self._model.parameters())
        flat = torch.cat([_gradient(copied).flatten() for copied in copies])
        mean = self._gradients.mean(self._rank, flat)
        for own, part in zip(owns, mean.split([own.numel() for own in owns]), strict=True):
            own.grad = part.view_as(own)
        nn.utils.clip_grad_norm_(owns, 1.0)
        self._optimizer.step()
        self._pace.step()
        with torch.no_grad():
            torch._foreach_copy_(copies, owns)
        self._copy.zero_grad(set_to_none=True)


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    """What the text encoders' last layers are given, which the UNet does not see, is nothing."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _known(config: dict[str, Any]) -> dict[str, Any]:
    others = ("skip_prk_steps", "set_alpha_to_one", "interpolation_type", "use_karras_sigmas")
    return {key: value for key, value in config.items() if key not in others}


@torch.no_grad()
def _average(average: nn.Module, model: nn.Module, decay: float) -> None:
    pairs = list(zip(average.parameters(), model.parameters(), strict=True))
    torch._foreach_lerp_([old for old, _ in pairs], [new for _, new in pairs], 1 - decay)
