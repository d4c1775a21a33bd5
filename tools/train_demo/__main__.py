"""Make the demo model from nothing: `python -m tools.train_demo`.

Needs torch and diffusers beside batchgen (`pip install -e ".[train]"`), no data and no network.
The VAE and each stage's weights are kept in `--work`; what is there is not made again.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from pathlib import Path

from diffusers import AutoencoderKL

from batchgen.model.weights import DEMO_FOLDER
from tools.train_demo import autoencoder, denoiser, export
from tools.train_demo.denoiser import Stage

VAE_STEPS = 2200

STAGES = (
    Stage(1500, 25.0, 1.2e-3), Stage(2300, 4.0, 8e-4), Stage(1500, 200.0, 1e-3, pairs=0.8),
    Stage(1500, 25.0, 1e-3), Stage(4500, 10.0, 8e-4),
)  # fmt: skip
"""Layouts and colours, shapes, which of two objects is where, then all of it together."""


def main() -> None:
    """Train, and write the model's folder."""
    parser = argparse.ArgumentParser(prog="train_demo", description=str(__doc__).partition(":")[0])
    parser.add_argument("--folder", type=Path, default=DEMO_FOLDER, help="where the model goes")
    parser.add_argument("--work", type=Path, default=Path("outputs/train-demo"), help="drafts")
    parser.add_argument("--effort", type=float, default=1.0, help="share of the usual steps")
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--workers", type=int, default=2, help="processes, each with one core")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin", type=Path, help="a model's folder to go on from")
    options = parser.parse_args()
    drafts: Path = options.work
    drafts.mkdir(parents=True, exist_ok=True)
    coder = drafts / "vae"
    if options.begin is not None and not coder.is_dir():
        denoiser.save(denoiser.Denoiser.of(options.begin), drafts / "stage-0.pt")
        _save(AutoencoderKL.from_pretrained(options.begin / "vae"), coder)
    if not coder.is_dir():
        _save(autoencoder.trained(round(VAE_STEPS * options.effort), options.seed), coder)
    vae = AutoencoderKL.from_pretrained(coder).eval()
    tokenizers = export.write_tokenizers(options.folder)
    data = denoiser.examples(vae, options.examples, random.Random(options.seed + 1))
    for number, stage in enumerate(STAGES, start=1):
        course = denoiser.Course(
            replace(stage, steps=round(stage.steps * options.effort)),
            options.seed + number, options.workers,
            drafts / f"stage-{number - 1}.pt", drafts / f"stage-{number}.pt",
        )  # fmt: skip
        if not course.end.exists():
            denoiser.train(data, tokenizers, course)
    model = denoiser.loaded(drafts / f"stage-{len(STAGES)}.pt")
    export.write(options.folder, model, vae)


def _save(vae: AutoencoderKL, folder: Path) -> None:
    """Write a folder, which is there when it is whole."""
    draft = folder.with_suffix(".part")
    vae.save_pretrained(draft)
    draft.replace(folder)


if __name__ == "__main__":
    main()
