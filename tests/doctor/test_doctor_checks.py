"""Checks of software, CANN, model files and output folder, on files of this test alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from batchgen.config.device import DeviceKind
from batchgen.config.job import JobConfig
from batchgen.config.models import DemoModel, Dtype, FakeModel, SdxlModel
from batchgen.doctor import cann, model_check, output_check, software
from batchgen.doctor.check import Check, Outcome, failed, not_needed, ok, warning


def named(checks: list[Check], name: str) -> Check:
    """Return the one check of this name."""
    (check,) = [check for check in checks if check.name == name]
    return check


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install something like CANN 8.3.RC1, its set_env.sh not sourced."""
    for name in ("ASCEND_OPP_PATH", "ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "ascend-toolkit" / "latest"
    (home / "compiler").mkdir(parents=True)
    (home / "compiler" / "version.info").write_text("Version=8.3.0.1.200\nversion_dir=8.3.RC1\n")
    (home / "aarch64-linux").mkdir()
    info = home / "aarch64-linux" / "ascend_toolkit_install.info"
    info.write_text("package_name=Ascend-cann-toolkit\nversion=8.3.RC1\narch=aarch64\n")
    (home.parent / "set_env.sh").write_text("")
    return tmp_path


@pytest.fixture
def sourced(toolkit: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set what set_env.sh sets."""
    home = toolkit / "ascend-toolkit" / "latest"
    monkeypatch.setenv("ASCEND_OPP_PATH", f"{home}/opp")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{home}/lib64")
    monkeypatch.setenv("PYTHONPATH", f"{home}/opp/built-in/op_impl/ai_core/tbe")
    monkeypatch.setenv("PATH", f"{home}/compiler/ccec_compiler/bin")
    return toolkit


def test_a_check_is_a_row_with_its_cure_below() -> None:
    """Columns stand below each other."""
    row, cure = failed("cann", "is not there", "source set_env.sh").lines()
    assert row == "failed   cann             is not there"
    assert cure.strip() == "cure: source set_env.sh"
    assert len(list(ok("cann", "8.3").lines())) == 1


def test_what_a_job_goes_without_is_a_warning() -> None:
    """Its finding and cure stay."""
    (check,) = not_needed([failed("driver", "none", "install it")])
    assert check == warning("driver", "none", "install it")


def test_cann_that_is_not_installed_is_named(tmp_path: Path, toolkit: Path) -> None:
    """The cure is to install it."""
    (check,) = cann.checks([], [tmp_path / "nowhere"])
    assert toolkit.exists()
    assert check.outcome is Outcome.failed
    assert "not installed" in check.finding
    assert "--install" in check.cure


def test_a_set_env_that_was_not_sourced_is_the_cure(toolkit: Path) -> None:
    """With the path it is really at."""
    (check,) = cann.checks([], [toolkit])
    assert check.outcome is Outcome.failed
    assert check.cure == f"source {toolkit}/ascend-toolkit/set_env.sh"


def test_cann_is_compared_with_what_mindspore_takes(sourced: Path) -> None:
    """By the two numbers MindSpore compares."""
    fits = list(cann.checks(["8.2", "8.3"], [sourced]))
    assert [check.outcome for check in fits] == [Outcome.ok, Outcome.ok]
    assert "8.3.RC1" in fits[0].finding
    other = named(list(cann.checks(["7.8"], [sourced])), "cann")
    assert other.outcome is Outcome.warning
    assert "7.8" in other.finding


def test_an_environment_that_leads_nowhere_is_named(
    toolkit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after CANN was replaced by another version."""
    monkeypatch.setenv("ASCEND_HOME_PATH", str(toolkit / "cann-7.0"))
    (check,) = cann.checks([], [toolkit])
    assert check.outcome is Outcome.failed
    assert "cann-7.0" in check.finding


def test_a_half_set_environment_is_a_warning(
    sourced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables that lack CANN are named."""
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib")
    check = named(list(cann.checks([], [sourced])), "set_env.sh")
    assert check.outcome is Outcome.warning
    assert check.finding.startswith("CANN is not in LD_LIBRARY_PATH:")


def test_a_driver_is_known_by_its_file(tmp_path: Path) -> None:
    """Where npu-smi is not mounted into a container."""
    assert cann.driver_version([tmp_path]) is None
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver" / "version.info").write_text("Version=25.3.rc1\n")
    assert cann.driver_version([tmp_path]) == "25.3.rc1"


def test_the_tested_set_is_here_and_fits() -> None:
    """The environment of these tests is the one the lock file makes."""
    checks = list(software.packages())
    assert {c.name for c in checks} >= {"mindspore", "mindone", "transformers", "numpy"}
    assert all(check.outcome is Outcome.ok for check in checks)


def test_another_version_is_told_with_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer numpy found first on the path, as after a careless pip install."""
    (tmp_path / "numpy-2.1.3.dist-info").mkdir()
    (tmp_path / "numpy-2.1.3.dist-info" / "METADATA").write_text("Name: numpy\nVersion: 2.1.3\n")
    monkeypatch.syspath_prepend(tmp_path)
    check = named(list(software.packages()), "numpy")
    assert check.outcome is Outcome.failed
    assert check.finding.startswith("2.1.3; tested with numpy")
    assert check.cure.startswith('pip install "numpy')


def test_an_old_python_is_refused_by_name() -> None:
    """The versions that do are in the finding."""
    check = software._python("3.8.20")
    assert check.outcome is Outcome.failed
    assert ">=3.10" in check.finding


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "riscv64")])
def test_a_platform_without_wheels_is_refused(system: str, machine: str) -> None:
    """MindSpore has none for it with both back ends."""
    assert software._platform(system, machine).outcome is Outcome.failed


def test_a_wheel_of_another_machine_is_found_by_its_binary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the none-any wheel, which is for aarch64, was installed by hand."""
    package = tmp_path / "mindspore"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_c_expression.cpython-39-sparc-linux-gnu.so").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mindspore", raising=False)
    check = software._wheel()
    assert check.outcome is Outcome.failed
    assert "cpython-39-sparc" in check.finding


def test_slurm_with_several_tasks_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would want the same folder."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert list(software._slurm()) == []
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert [check.outcome for check in software._slurm()] == [Outcome.ok]
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert [check.outcome for check in software._slurm()] == [Outcome.warning]


@pytest.mark.usefixtures("workplace")
def test_a_model_that_is_not_there_yet_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cure is the download."""
    for name in ("MODELSCOPE_CACHE", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    check = named(list(model_check.checks(SdxlModel(), DeviceKind.cpu)), "model files")
    assert check.outcome is Outcome.warning
    assert check.cure == "batchgen download model=sdxl-base"
    assert model_check.weights_bytes(SdxlModel()) == 0


def test_a_model_that_is_not_whole_is_a_failure(tmp_path: Path) -> None:
    """`run` would refuse it."""
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    check = named(
        list(model_check.checks(SdxlModel(path=str(tmp_path)), DeviceKind.cpu)), "model files"
    )
    assert check.outcome is Outcome.failed
    assert str(tmp_path) in check.finding


def test_a_vae_in_float16_is_a_warning() -> None:
    """It makes black pictures; float32 does not."""
    risky = SdxlModel(vae_dtype=Dtype.float16)
    assert list(model_check.checks(risky, DeviceKind.ascend))[1].cure == "model.vae_dtype=float32"
    assert list(model_check.checks(SdxlModel(), DeviceKind.ascend))[1].outcome is Outcome.ok
    assert list(model_check.checks(risky, DeviceKind.cpu))[1].outcome is Outcome.ok


def test_models_that_need_no_download_are_well() -> None:
    """The demo comes with the package, the fake has no files."""
    assert named(list(model_check.checks(DemoModel(), DeviceKind.cpu)), "model files").cure == ""
    assert [c.outcome for c in model_check.checks(FakeModel(), DeviceKind.cpu)] == [Outcome.ok]


def test_an_output_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    """Locks, rename, sync and space; nothing stays, not even the folder."""
    config = JobConfig(table="t.csv", output_root=str(tmp_path / "outputs"))
    checks = list(output_check.checks(config))
    assert [check.name for check in checks] == [
        "output folder", "locks", "rename and sync", "free space",
    ]  # fmt: skip
    assert all(check.outcome is not Outcome.failed for check in checks)
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_cannot_be_written_is_a_failure() -> None:
    """Not even root writes into /proc."""
    (check,) = output_check.checks(JobConfig(table="t.csv", output_root="/proc/self/outputs"))
    assert check.outcome is Outcome.failed
    assert check.cure.startswith("output_root=")


def test_an_output_folder_that_is_a_link_to_nothing_fails(tmp_path: Path) -> None:
    """A run refuses it, and Python's own `resolve` raises `RuntimeError` for this one."""
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    (check,) = output_check.checks(JobConfig(table="t.csv", output_root=str(loop)))
    assert check.outcome is Outcome.failed
    assert f"{loop} is a link to 'loop', and nothing is there" in check.finding


def test_a_disk_that_is_nearly_full_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for fewer images than a night makes."""
    monkeypatch.setattr(output_check, "_FEW_IMAGES", 10**12)
    checks = list(output_check.checks(JobConfig(table="t.csv", output_root=str(tmp_path))))
    assert named(checks, "free space").outcome is Outcome.warning
