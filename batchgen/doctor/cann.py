"""The versions of CANN and of the driver, read where MindSpore and the installers keep them.

MindSpore takes CANN's version from compiler/version.info beside ASCEND_OPP_PATH
(mindspore/run_check/_check_version.py); the installer writes the name of the release into
<arch>-linux/ascend_toolkit_install.info.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from batchgen.config.paths import expanded
from batchgen.doctor.check import Check, failed, ok, warning

ROOTS = (Path("/usr/local/Ascend"), expanded("~/Ascend"))
"""Where the installers put what they install, for root and for others."""

_SCRIPTS = ("ascend-toolkit/set_env.sh", "cann/set_env.sh", "cann-*/set_env.sh", "nnae/set_env.sh")
_DOCS = "docs/ascend.md has the versions that fit"
_INSTALL = "bash Ascend-cann-toolkit_*_linux-$(uname -m).run --install"


def checks(accepted: Sequence[str], roots: Sequence[Path] = ROOTS) -> Iterator[Check]:
    """Yield what there is of CANN; `accepted` are versions MindSpore takes, empty where unknown."""
    scripts = [path for root in roots for name in _SCRIPTS for path in sorted(root.glob(name))]
    source = f"source {scripts[0]}" if scripts else ""
    home = _home()
    if home is None and not scripts:
        places = " nor in ".join(map(str, roots))
        yield failed("cann", f"CANN is not installed, not in {places}", f"{_INSTALL}; {_DOCS}")
    elif home is None:
        yield failed("cann", f"CANN is installed, but set_env.sh was not sourced: {source}", source)
    elif not home.is_dir():
        cure = source or f"unset ASCEND_HOME_PATH ASCEND_OPP_PATH; {_DOCS}"
        yield failed("cann", f"the environment names {home}, which is not there", cure)
    else:
        yield _version_check(home, accepted)
        yield from _environment(source or f"source {home}/set_env.sh")


def _home() -> Path | None:
    if opp := os.environ.get("ASCEND_OPP_PATH"):
        return Path(opp).parent
    home = os.environ.get("ASCEND_HOME_PATH") or os.environ.get("ASCEND_TOOLKIT_HOME")
    return Path(home) if home else None


def _version_check(home: Path, accepted: Sequence[str]) -> Check:
    release, version = _release(home), _value(home / "compiler" / "version.info", "Version")
    name = " ".join(filter(None, ("CANN", release, version and f"(compiler {version})")))
    if version is None:
        finding = f"{name} in {home}: {home / 'compiler' / 'version.info'} is not there"
        return warning("cann", finding, f"ls {home}; {_DOCS}")
    short = ".".join(version.split(".")[:2])
    if accepted and short not in accepted:
        takes = ", ".join(accepted)
        return warning("cann", f"{name}: this MindSpore was built for {takes}", _DOCS)
    return ok("cann", f"{name} in {home}")


def _environment(source: str) -> Iterator[Check]:
    """What set_env.sh sets and MindSpore looks for."""
    wanted = {
        "LD_LIBRARY_PATH": "/lib64",
        "PYTHONPATH": "opp/built-in/op_impl/ai_core/tbe",
        "PATH": "/compiler/ccec_compiler/bin",
        "ASCEND_OPP_PATH": "/opp",
    }
    lacking = [name for name, part in wanted.items() if part not in os.environ.get(name, "")]
    if lacking:
        finding = f"CANN is not in {', '.join(lacking)}: set_env.sh was not sourced in full"
        yield warning("set_env.sh", finding, source)
    else:
        yield ok("set_env.sh", "was sourced")


def _release(home: Path) -> str | None:
    for file in sorted(home.glob("*-linux/ascend_toolkit_install.info")):
        if found := _value(file, "version"):
            return found
    return None


def driver_version(roots: Sequence[Path] = ROOTS) -> str | None:
    """Return the driver's version from its file, for where npu-smi does not run."""
    found = (_value(root / "driver" / "version.info", "Version") for root in roots)
    return next((version for version in found if version), None)


def _value(file: Path, key: str) -> str | None:
    """Return the value of `key=value` or `key: value` in a file; None where there is none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(rf"(?m)^{key}\s*[=:]\s*\[?([^\s\]]+)", text)
    return match[1] if match else None
