"""Make the demo model from nothing: `python -m tools.train_demo`.

Needs torch and diffusers beside batchgen (`pip install -e ".[train]"`), no data and no network.
The VAE and the weights so far are kept in `--work`; what is there is gone on from.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from batchgen.weights import DEMO_FOLDER
from tools.train_demo import autoencoder, denoiser, export

STAGES = ((0.4, 25.0, 1.2e-3), (0.6, 4.0, 8e-4))
"""Share of the steps, heaviest weight of a noisy one, peak rate: first layouts, then shapes."""


def main() -> None:
    """Train, and write the model's folder."""
    parser = argparse.ArgumentParser(prog="train_demo", description=str(__doc__).partition(":")[0])
    parser.add_argument("--folder", type=Path, default=DEMO_FOLDER, help="where the model goes")
    parser.add_argument("--work", type=Path, default=Path("outputs/train-demo"), help="drafts")
    parser.add_argument("--vae-steps", type=int, default=2200)
    parser.add_argument("--steps", type=int, default=3800)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2, help="processes, each with one core")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin", type=Path, help="a model's folder to go on from")
    options = parser.parse_args()
    drafts: Path = options.work
    drafts.mkdir(parents=True, exist_ok=True)
    if options.begin is not None:
        AutoencoderKL.from_pretrained(options.begin / "vae").save_pretrained(drafts / "vae")
        torch.save(denoiser.Denoiser.of(options.begin).state_dict(), drafts / "average.pt")
    if not (drafts / "vae").is_dir():
        autoencoder.trained(options.vae_steps, options.seed).save_pretrained(drafts / "vae")
    vae = AutoencoderKL.from_pretrained(drafts / "vae").eval()
    tokenizers = export.write_tokenizers(options.folder)
    data = denoiser.examples(vae, options.examples, random.Random(options.seed + 1))
    for stage, (share, heaviest, rate) in enumerate(STAGES):
        course = denoiser.Course(
            round(options.steps * share), heaviest, rate, options.seed + stage, options.workers,
            drafts / "average.pt",
        )  # fmt: skip
        model = denoiser.trained(data, tokenizers, course)
    export.write(options.folder, model, vae)


if __name__ == "__main__":
    main()
