"""Weights that draw in a few steps are known by their names, and no others are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_model import write_model

from batchgen.config.groups import names
from batchgen.config.models import AdapterConfig, SdxlModel
from batchgen.model import few_steps
from batchgen.model.model_files import ModelFiles

KNOWN = {
    "SDXL-Lightning": (
        "ByteDance/SDXL-Lightning", "sdxl_lightning_4step_unet", "DreamShaperXL_Lightning",
        "juggernautXL_v9Rdphoto2Lightning", "sdxllightning", "RealVisXL_V5.0_Lightning_fp16",
    ),
    "Hyper-SD": (
        "ByteDance/Hyper-SD", "Hyper-SDXL-8steps-lora", "epicrealismXL_vxviHyper", "HyperSDXL",
        "juggernautXL_hyper8step", "Hyper_XL",
    ),
    "Hyper-SD with guidance kept": ("Hyper-SDXL-12steps-CFG-lora",),
    "DMD2": ("tianweiy/DMD2", "dmd2_sdxl_4step_lora_fp16", "sdxl_dmd2"),
    "LCM": ("latent-consistency/lcm-lora-sdxl", "lcm_sdxl_unet", "SDXL-LCM-LoRA"),
    "SDXL-Turbo": (
        "AI-ModelScope/sdxl-turbo", "sd_xl_turbo_1.0_fp16", "dreamshaperXL_v21TurboDPMSDE",
        "TurboVisionXL", "sdxlturbo",
    ),
}  # fmt: skip

OTHERS = (
    "AI-ModelScope/stable-diffusion-xl-base-1.0", "hyperrealism_xl", "Hyper-Realistic-Style",
    "hypernetwork", "lightning_bolts", "enlightning", "turbocharger", "noobaiXLNAIXL_vPred10",
    "pcm_sdxl_normalcfg_4step", "pixel-art-xl", "silcm",
)  # fmt: skip


@pytest.mark.parametrize(
    ("label", "name"), [(k, name) for k, all_ in KNOWN.items() for name in all_]
)
def test_a_name_tells_the_kind(label: str, name: str) -> None:
    """As hubs and files write it."""
    kind = few_steps.of_names(["plain", name])
    assert kind is not None
    assert kind.label == label
    assert kind.preset in names("sampling")


@pytest.mark.parametrize("name", OTHERS)
def test_a_word_that_only_contains_one_tells_nothing(name: str) -> None:
    """A warning that is wrong is not read the next time."""
    assert few_steps.of_names([name]) is None


@pytest.mark.parametrize(
    ("key", "value", "is_known"),
    [
        ("modelspec.title", "DreamShaper XL Lightning", True),
        ("ss_output_name", "my_lcm_lora", True),
        ("modelspec.description", "Distilled from SDXL; 4 steps, Turbo", True),
        ("modelspec.description", "A storm with lightning above the sea", False),
        ("ss_sd_model_name", "sd_xl_turbo_1.0.safetensors", False),
        ("ss_tag_frequency", '{"lightning": 7}', False),
    ],
)
def test_a_header_tells_the_kind(tmp_path: Path, key: str, value: str, is_known: bool) -> None:
    """What names the weights counts, what they were trained on does not."""
    file = tmp_path / "mine.safetensors"
    save_file({"x": np.zeros(1)}, file, {key: value})
    assert (few_steps.of_adapter(AdapterConfig(path=str(file)), file) is not None) == is_known


def test_a_model_is_known_by_hub_path_and_header(tmp_path: Path) -> None:
    """A path makes the hub id of the config, SDXL's own, mean nothing."""
    folder = write_model(tmp_path / "sdxl-lightning-x")
    files = ModelFiles(folder, "fp16")
    assert few_steps.of_model(SdxlModel(path=str(folder)), files) is not None
    assert few_steps.of_model(SdxlModel(path=str(tmp_path), hub_id="a/sdxl-turbo"), files) is None
    assert few_steps.of_model(SdxlModel(hub_id="a/sdxl-turbo"), files) is not None
    assert few_steps.of_model(SdxlModel(), files) is None
    unet = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    save_file({"x": np.zeros(1)}, unet, {"modelspec.title": "Some Turbo"})
    assert few_steps.of_model(SdxlModel(), files) is not None


def test_a_file_whose_name_says_nothing_is_known_by_its_folder(tmp_path: Path) -> None:
    """As all LoRAs on a hub are called pytorch_lora_weights."""
    file = tmp_path / "lcm-lora-sdxl" / "pytorch_lora_weights.safetensors"
    assert few_steps.of_adapter(AdapterConfig(path=str(file)), file) is not None
    other = file.with_name("pixel.safetensors")
    assert few_steps.of_adapter(AdapterConfig(path=str(other)), other) is None
