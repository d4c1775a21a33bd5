"""Train the VAE: from pictures to latents an eighth as wide and high, and back.

On random crops, since flat colour is the hard part for group normalisation and a crop has more
edges for its area. Left alone, the encoder put all eight colours on one line of the latent space,
black beside green. So its first three channels are told what to be: the mean colour of their
pixels; the fourth is free. The latent gets a fixed noise in place of a learned one, so that the
UNet may be wrong by as much and nobody sees it.
"""

from __future__ import annotations

import math
import random

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn.functional import avg_pool2d
from tqdm import tqdm

from tools.train_demo.architecture import VAE
from tools.train_demo.scenes import SIDE, drawn, random_scene

NOISE = 0.05
"""Standard deviation of what is added to a latent in training."""

TOLD = 0.5
"""Weight in the loss of how far three of the channels are from the mean colour."""

PULL = 1e-3
"""Weight of the fourth channel's own square, which keeps it near zero."""

BATCH = 16


def trained(steps: int, seed: int) -> AutoencoderKL:
    """A VAE after so many steps, with `scaling_factor` set so that latents have variance one."""
    torch.manual_seed(seed)
    dice = random.Random(seed)
    model = AutoencoderKL(**VAE).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps))
    bar = tqdm(range(steps), desc="VAE", unit="step", mininterval=5)
    for step in bar:
        side = SIDE if step > 0.75 * steps else SIDE // 2
        pictures = pixels(dice, BATCH * SIDE // 2 // side, side)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mean = model.quant_conv(model.encoder(pictures))[:, :4].float()
            latents = mean + NOISE * torch.randn_like(mean)
            drawing = model.decoder(model.post_quant_conv(latents)).float()
        error = drawing - pictures
        untold = mean[:, :3] - avg_pool2d(pictures, 8)
        loss = (
            error.abs().mean()
            + error.square().mean()
            + TOLD * untold.square().mean()
            + PULL * mean[:, 3].square().mean()
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            terms = {"mse": error.square().mean(), "colour": untold.square().mean()}
            bar.set_postfix({k: f"{v.item():.4f}" for k, v in terms.items()}, refresh=False)
    return finished(model, dice)


def rate(step: int, steps: int) -> float:
    """A share of the peak rate: up within 100 steps, then down along a cosine."""
    return min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def pixels(dice: random.Random, count: int, side: int) -> torch.Tensor:
    """Crops of fresh scenes: (count, 3, side, side) float32 in [-1, 1]."""
    crops = []
    for _ in range(count):
        picture = drawn(random_scene(dice))
        x, y = (dice.randint(0, (SIDE - side) // 8) * 8 for _ in range(2))
        crops.append(picture[y : y + side, x : x + side])
    # Channels last, as they are: convolutions of a CPU are faster so.
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def finished(model: AutoencoderKL, dice: random.Random) -> AutoencoderKL:
    """Write what training knew into the model: the latents' noise and their size."""
    model.quant_conv.weight[4:] = 0
    model.quant_conv.bias[4:] = 2 * math.log(NOISE)
    latents = torch.cat([
        model.encode(pixels(dice, 32, SIDE)).latent_dist.mean for _ in range(8)
    ])  # fmt: skip
    model.register_to_config(scaling_factor=1.0 / latents.std().item())
    return model.eval()
