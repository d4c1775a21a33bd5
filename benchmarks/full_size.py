"""The full-size SDXL with random weights: written, checked, loaded, and run on the CPU.

    python benchmarks/full_size.py [--folder DIR] [--steps 2] [--size 256]

Writes 6.9 GB of float16 safetensors in diffusers' layout, then makes one picture. Prints what each
part took, how often each byte was read, and the peak memory beside the size of the files. A folder
that is named is kept and used again; else one is made and deleted. Wants 24 GiB of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from batchgen.cli.compose import Composer
from batchgen.executors.local import LocalExecutor
from batchgen.model import model_files, shapes
from batchgen.runner.identity import Job
from batchgen.runner.start import run_job
from batchgen.runner.stopping import Stop

GIB = 2**30

N_TOKENS = 49_408
"""CLIP's vocabulary; here all but the last two are letters that no prompt uses."""

UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel", "sample_size": 128, "in_channels": 4, "out_channels": 4,
    "block_out_channels": [320, 640, 1280], "layers_per_block": 2,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10], "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048, "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip

VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "latent_channels": 4,
    "sample_size": 1024, "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "scaling_factor": 0.13025, "force_upcast": True,
}  # fmt: skip


def text(size: int, inner: int, layers: int, heads: int, activation: str) -> dict[str, Any]:
    """Return the config of a CLIP text model."""
    return {
        "model_type": "clip_text_model", "vocab_size": N_TOKENS, "hidden_size": size,
        "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
        "projection_dim": size, "max_position_embeddings": 77, "hidden_act": activation,
        "bos_token_id": N_TOKENS - 2, "eos_token_id": N_TOKENS - 1, "pad_token_id": N_TOKENS - 1,
    }  # fmt: skip


CONFIGS = {
    "unet": UNET,
    "vae": VAE,
    "text_encoder": text(768, 3072, 12, 12, "quick_gelu"),
    "text_encoder_2": text(1280, 5120, 32, 20, "gelu"),
}
"""As in SDXL base 1.0, but for settings that shape no tensor and have SDXL's value by default."""


def values(name: str, shape: tuple[int, ...], stream: np.random.Generator) -> NDArray[np.float16]:
    """Draw a tensor that keeps the size of what flows through it, so that nothing overflows."""
    if name.endswith("bias"):
        return np.zeros(shape, np.float16)
    if len(shape) == 1:
        return np.ones(shape, np.float16)
    fan_in = math.prod(shape[1:])
    numbers = stream.random(shape, np.float32) - np.float32(0.5)
    return (numbers * np.float32(math.sqrt(12 / fan_in))).astype(np.float16)


def write(folder: Path) -> None:
    """Write the model; each component is whole in memory once, in float16."""
    stream = np.random.default_rng(0)
    for component, config in CONFIGS.items():
        write_json(folder / component / "config.json", config)
        tensors = {
            name: values(name, shape, stream) for name, shape in shapes.tensors(component, config)
        }
        stem = model_files.WEIGHTS[component]
        save_file(tensors, folder / component / f"{stem}.fp16.safetensors", {"format": "pt"})
    for tokenizer in ("tokenizer", "tokenizer_2"):
        write_tokenizer(folder / tokenizer)
    write_json(folder / "scheduler/scheduler_config.json", {
        "_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "steps_offset": 1, "timestep_spacing": "leading",
    })  # fmt: skip
    # Last, for it is what says that the model is there.
    write_json(folder / "model_index.json", {
        "_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
    })  # fmt: skip


def write_tokenizer(folder: Path) -> None:
    """Write a vocabulary of CLIP's kind in which every letter is a token and no word is."""
    from transformers.models.clip.tokenization_clip import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    names = [*letters, *(f"{letter}</w>" for letter in letters)]
    names += ["<|startoftext|>", "<|endoftext|>"]
    write_json(folder / "vocab.json", {name: number for number, name in enumerate(names)})
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True,
        "bos_token": names[-2], "eos_token": names[-1], "unk_token": names[-1],
        "pad_token": names[-1],
    })  # fmt: skip


def write_json(file: Path, value: object) -> None:
    """Write a file of the model's, with its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), "utf-8")


def kernel_bytes(file: str, key: str) -> int:
    """Return a size from a file of this process's under /proc, in bytes."""
    lines = Path("/proc/self", file).read_text().splitlines()
    words = next(line for line in lines if line.startswith(f"{key}:")).split()
    return int(words[1]) * (1024 if words[-1] == "kB" else 1)


class Part:
    """Prints what a part of the run took."""

    def __init__(self, files: model_files.ModelFiles) -> None:
        self.files = files
        self.size_bytes = sum(file.stat().st_size for file in files.loaded())
        self._start()

    def _start(self) -> None:
        """Forget the files' pages, so that what is read again is read from the disk."""
        for file in self.files.loaded():
            with file.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self.read_before = kernel_bytes("io", "read_bytes")
        self.started = time.perf_counter()

    def done(self, name: str) -> None:
        """Print seconds, memory, and bytes read from the disk over bytes of the files."""
        seconds = time.perf_counter() - self.started
        n_read = kernel_bytes("io", "read_bytes") - self.read_before
        print(
            f"{name:<9} {seconds:7.1f} s   read {n_read / self.size_bytes:5.2f} times   memory "
            f"{kernel_bytes('status', 'VmRSS') / GIB:5.1f} GiB, at most "
            f"{kernel_bytes('status', 'VmHWM') / GIB:5.1f} GiB",
            flush=True,
        )
        self._start()


def run(folder: Path, work: Path, steps: int, size: int) -> None:
    """Check, hash, load and use the model in `folder`, printing each part."""
    part = Part(model_files.ModelFiles(folder, "fp16"))
    print(f"files     {part.size_bytes / GIB:7.2f} GiB", flush=True)
    part.files.check()
    part.done("check")
    table = work / "table.csv"
    table.write_text("prompt\na red cat\n")
    job = Composer(None).job([
        f"table='{table}'", f"output_root='{work}'", "model=sdxl-base", f"model.path='{folder}'",
        f"model.width={size}", f"model.height={size}", f"sampling.steps={steps}", "device=cpu",
    ])  # fmt: skip
    identified = Job.identify(job)
    part.done("hash")
    with contextlib.closing(LocalExecutor()) as executor:
        executor.open(identified)
        part.done("load")
        result = run_job(job, executor, Stop(None))
        part.done("picture")
    print(result.message)


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the model is or is to be")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--size", type=int, default=256, help="sides of the picture, in pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        os.environ["BATCHGEN_CACHE"] = str(work / "cache")
        folder = (options.folder or work / "model").resolve()
        if not (folder / "model_index.json").exists():
            started = time.perf_counter()
            # In a process of its own, so that its memory is not counted below.
            subprocess.run(
                [sys.executable, "-c", WRITE, str(folder)], check=True, cwd=Path(__file__).parent
            )
            print(f"write     {time.perf_counter() - started:7.1f} s", flush=True)
        run(folder, work, options.steps, options.size)


WRITE = "import full_size, pathlib, sys; full_size.write(pathlib.Path(sys.argv[1]))"


if __name__ == "__main__":
    main()
