"""The names of the schedulers: many spellings, one meaning."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from batchgen.config.sampling import SamplingConfig
from batchgen.config.schedulers import (
    NO_ZERO_SNR,
    OWN_SPACING,
    REFUSED,
    SCHEDULERS,
    canonical,
    scheduler_problem,
)
from batchgen.config.setting_choices import TimestepSpacing


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EulerDiscreteScheduler", "euler"),
        ("EulerAncestralDiscreteScheduler", "euler_ancestral"),
        ("DPMSolverMultistepScheduler", "dpmpp_2m"),
        ("LCMScheduler", "lcm"),
        ("DPM++ 2M Karras", "dpmpp_2m_karras"),
        ("dpm++ 2m sde karras", "dpmpp_2m_sde_karras"),
        ("Euler a", "euler_ancestral"),
        ("euler_a", "euler_ancestral"),
        ("PLMS", "pndm"),
        ("DPM2 a Karras", "kdpm2_ancestral_karras"),
        ("uni_pc", "unipc"),
        (" TCD ", "tcd"),
    ],
)
def test_a_scheduler_goes_by_many_names(name: str, meant: str) -> None:
    """Diffusers' classes, the labels of web UIs, and short names, in any case."""
    assert canonical(name) == meant


def test_no_two_schedulers_share_a_name() -> None:
    """Every canonical name and every label is its own; a class means the first it builds."""
    for name, scheduler in SCHEDULERS.items():
        assert canonical(name) == canonical(scheduler.label) == name
        assert all(canonical(alias) == name for alias in scheduler.aliases)
        assert SCHEDULERS[canonical(scheduler.class_name)].class_name == scheduler.class_name


def test_those_without_zero_snr_are_those_of_mindone_without_the_setting() -> None:
    """Read in its sources: importing it takes seconds. UniPC's has it, and fails with it."""
    found = importlib.util.find_spec("mindone")
    assert found is not None
    assert found.origin is not None
    classes = {
        node.name: {argument.arg for argument in init.args.args}
        for file in (Path(found.origin).parent / "diffusers" / "schedulers").glob("scheduling_*.py")
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef)
        for init in node.body
        if isinstance(init, ast.FunctionDef) and init.name == "__init__"
    }
    setting = "rescale_betas_zero_snr"
    without = {n for n, one in SCHEDULERS.items() if setting not in classes[one.class_name]}
    assert without | {"unipc", "unipc_karras"} == NO_ZERO_SNR


def test_what_is_offered_is_not_refused() -> None:
    """And a reason has a name that nothing else answers to."""
    assert all(scheduler_problem(name) is None for name in SCHEDULERS)
    assert all(canonical(name) == name for name in REFUSED)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("DPMSolverSDEScheduler", "draws noise that does not repeat"),
        ("DPM++ SDE Karras", "draws noise that does not repeat"),
        ("deis", "fails on MindSpore 2.7.1"),
        ("EDMEulerScheduler", "is not for SDXL's noise schedule"),
        ("DPM++ 2S a", "dpmpp_singlestep is close"),
    ],
)
def test_a_scheduler_that_is_not_offered_is_refused_with_the_reason(name: str, reason: str) -> None:
    """People ask for these by name, and should not have to guess."""
    (problem,) = SamplingConfig(scheduler=name).problems()
    assert problem.startswith(f"sampling.scheduler={name!r} is not offered: it ")
    assert reason in problem


def test_an_unknown_scheduler_is_answered_with_all_there_are_and_the_nearest() -> None:
    """Any of the names may be copied."""
    (problem,) = SamplingConfig(scheduler="eulr").problems()
    names = ", ".join(SCHEDULERS)
    assert problem == (f"sampling.scheduler='eulr' is not one of {names}; the nearest is euler.")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("k_euler_a", "euler_ancestral"),
        ("k_euler_ancestral", "euler_ancestral"),
        ("euler_karras", "euler_karras"),
        ("dpmpp_2m + karras", "dpmpp_2m_karras"),
        ("dpmpp_2m karras", "dpmpp_2m_karras"),
        ("dpmpp_2m/karras", "dpmpp_2m_karras"),
        ("DPM++ 2M (Karras)", "dpmpp_2m_karras"),
        ("DPM++ 2M SDE, Karras", "dpmpp_2m_sde_karras"),
        ("k_dpmpp_2m", "dpmpp_2m"),
        ("sample_dpmpp_2m", "dpmpp_2m"),
        ("dpm_2_ancestral", "kdpm2_ancestral"),
        ("k_dpm_2_a", "kdpm2_ancestral"),
        ("dpm_2_ancestral karras", "kdpm2_ancestral_karras"),
        ("dpmsolver++", "dpmpp_2m"),
        ("uni_pc_bh2", "unipc"),
        ("sa_solver", "sasolver"),
        ("euler_k", "euler_karras"),
        ("dpmpp_2m_sde_k", "dpmpp_2m_sde_karras"),
        ("unipc_k", "unipc_karras"),
    ],
)
def test_the_samplers_of_other_programs_are_taken_where_they_mean_the_same(
    name: str, meant: str
) -> None:
    """ComfyUI's, with a scheduler behind, AUTOMATIC1111's, kohya's and InvokeAI's."""
    assert canonical(name) == meant


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("dpmpp_2m_sde_gpu", "dpmpp_2m_sde"),
        ("dpmpp_2m_exponential", "dpmpp_2m"),
        ("euler_cfg_pp", "euler"),
        ("dpmpp_3m_karras", "dpmpp_3m"),
        ("heunpp2", "heun"),
    ],
)
def test_a_sampler_that_is_another_is_told_the_nearest(name: str, near: str) -> None:
    """Nearly the same is not the same."""
    assert str(scheduler_problem(name)).endswith(f"the nearest is {near}")


@pytest.mark.parametrize("name", ["dpm_2", "k_dpm_2", "dpmpp_2s_ancestral", "dpmpp_sde", "ddpm"])
def test_a_sampler_that_is_refused_is_so_under_the_names_of_others(name: str) -> None:
    """With the reason, not with a neighbour."""
    assert "is not offered: it " in str(scheduler_problem(name))


def test_the_spelling_of_a_scheduler_changes_no_config() -> None:
    """So it changes no fingerprint and no folder of a grid."""
    assert SamplingConfig(scheduler="DPM++ 2M Karras") == SamplingConfig(
        scheduler="dpmpp_2m_karras"
    )


def test_the_page_on_sampling_has_every_name() -> None:
    """One line of its table each, in their order."""
    page = (Path(__file__).parents[2] / "docs" / "sampling.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.endswith("|") and "Scheduler` |" in line]
    for line, (name, scheduler) in zip(lines, SCHEDULERS.items(), strict=True):
        aliases = ", ".join(f"`{alias}`" for alias in scheduler.aliases)
        assert line == (f"| `{name}` | {scheduler.label} | `{scheduler.class_name}` | {aliases} |")


def test_a_spacing_without_effect_is_refused() -> None:
    """Nothing is recorded that did not happen."""
    given = SamplingConfig(scheduler="lcm", timestep_spacing=TimestepSpacing.trailing)
    (problem,) = given.problems()
    assert "has no effect on lcm" in problem
    assert not list(SamplingConfig(timestep_spacing=TimestepSpacing.trailing).problems())


def test_the_page_on_sampling_names_the_schedulers_without_spacing() -> None:
    """In the order of the table."""
    page = (Path(__file__).parents[2] / "docs" / "sampling.md").read_text(encoding="utf-8")
    names = [f"`{name}`" for name in OWN_SPACING]
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    assert f"no effect on {listed}," in " ".join(page.split())
