"""Python, platform, packages, locale, and the schedulers a job may run under."""

from __future__ import annotations

import locale
import os
import platform
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from batchgen.config.counts import counted
from batchgen.doctor.check import Check, failed, ok, warning

MACHINES = ("x86_64", "aarch64")
"""What MindSpore has Linux wheels for, with both back ends in one."""

_ALWAYS_SHOWN = ("mindspore", "mindone", "transformers", "numpy")


def checks() -> Iterator[Check]:
    """Yield what can be said without importing anything heavy."""
    yield _python(platform.python_version())
    yield _platform(platform.system(), platform.machine())
    yield from packages()
    yield _wheel()
    yield _locale()
    yield from _ray()
    yield from _slurm()


def _python(version: str) -> Check:
    wanted = SpecifierSet(str(metadata.metadata("batchgen")["Requires-Python"]))
    if version in wanted:
        return ok("python", f"{version}, {sys.executable}")
    return failed(
        "python",
        f"{version}; batchgen runs on {wanted}",
        "python3.11 -m venv .venv && .venv/bin/pip install -r requirements.lock -e .",
    )


def _platform(system: str, machine: str) -> Check:
    name = (
        f"{system} on {machine}, {counted(len(os.sched_getaffinity(0)), 'core')} for this process"
    )
    if system == "Linux" and machine in MACHINES:
        return ok("platform", name)
    return failed(
        "platform",
        f"{name}; MindSpore has wheels for Linux on {' and '.join(MACHINES)}",
        "use such a machine or container; docs/ascend.md names an image",
    )


def packages() -> Iterator[Check]:
    """Yield a check for each library the results hang on, and for each other that does not fit.

    The tested set is what batchgen itself requires (pyproject.toml).
    """
    for text in sorted(metadata.requires("batchgen") or []):
        requirement = Requirement(text)
        if not _applies(requirement):
            continue
        check = _package(requirement)
        if requirement.name in _ALWAYS_SHOWN or check.cure:
            yield check


def reinstall(name: str) -> str:
    """Return the command that installs a library anew, in the version that batchgen requires."""
    required = (Requirement(text) for text in metadata.requires("batchgen") or [])
    wanted = next((one for one in required if one.name == name and _applies(one)), None)
    return f'pip install --force-reinstall --no-deps "{name}{wanted.specifier if wanted else ""}"'


def _applies(requirement: Requirement) -> bool:
    """Whether it holds for this Python and for batchgen without extras."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _package(requirement: Requirement) -> Check:
    wanted = f"{requirement.name}{requirement.specifier}"
    cure = f'pip install "{wanted}"'
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return failed(requirement.name, f"is not installed; tested with {wanted}", cure)
    if requirement.specifier.contains(version, prereleases=True):
        return ok(requirement.name, version)
    return failed(requirement.name, f"{version}; tested with {wanted}", cure)


def _wheel() -> Check:
    """Whether MindSpore's binary is for this Python and machine.

    Its own tag does not tell: the wheels say py3-none-any inside, whatever they are named.
    """
    suffix = str(sysconfig.get_config_var("EXT_SUFFIX"))
    cure = reinstall("mindspore")
    spec = find_spec("mindspore")
    if spec is None or spec.origin is None:
        return failed("mindspore wheel", "there is none", cure)
    there = sorted(path.name for path in Path(spec.origin).parent.glob("_c_expression*.so"))
    if f"_c_expression{suffix}" in there:
        return ok("mindspore wheel", f"made for {suffix.strip('.').removesuffix('.so')}")
    made_for = ", ".join(there) or "another platform"
    finding = f"made for {made_for}, this Python loads {suffix}; none-any is Linux on aarch64"
    return failed("mindspore wheel", finding, cure)


def _locale() -> Check:
    encodings = {
        "files": locale.getpreferredencoding(do_setlocale=False),
        "names": sys.getfilesystemencoding(),
        "output": getattr(sys.stdout, "encoding", None) or "utf-8",
    }
    odd = [f"{what} {name}" for what, name in encodings.items() if not _is_utf8(name)]
    if not odd:
        return ok("locale", "UTF-8")
    finding = f"not UTF-8: {', '.join(odd)}; other tools may not read names and prompts"
    return warning("locale", finding, "export LANG=C.UTF-8 PYTHONUTF8=1")


def _is_utf8(name: str) -> bool:
    return name.lower().replace("-", "").replace("_", "") == "utf8"


def _ray() -> Iterator[Check]:
    try:
        yield ok("ray", f"{metadata.version('ray')} is installed; batchgen does not use it yet")
    except metadata.PackageNotFoundError:
        return


def _slurm() -> Iterator[Check]:
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return
    n_tasks = os.environ.get("SLURM_NTASKS", "1")
    if n_tasks == "1":
        finding = f"job {job}; --signal=B:TERM@600 lets a job end in order before its limit"
        yield ok("slurm", finding)
    else:
        finding = f"job {job} has {n_tasks} tasks; one process at a time works in a job's folder"
        yield warning("slurm", finding, "srun --ntasks=1 batchgen run ...; shards: docs/cluster.md")
