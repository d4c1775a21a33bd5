"""The README's commands, run as they stand, but with two rows where MindSpore is at work."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_HERE = ("make demo", "batchgen download", "device=ascend", "jobs=parti")
"""Lines that need a fresh clone, a model hub or an NPU."""


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(block: str) -> list[str]:
    """Return the shell lines of a block that can run here."""
    return [line for line in block.splitlines() if not any(word in line for word in NOT_HERE)]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder that has the example jobs."""
    shutil.copytree(ROOT / "jobs", tmp_path / "jobs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("block", [text for text in blocks(README, "sh") if commands(text)])
def test_every_command_of_the_readme_works(block: str) -> None:
    """Each line ends with 0, but for the rehearsal, whose row fails as asked."""
    for line in commands(block):
        command = shlex.split(line.removeprefix("batchgen"))
        if "jobs=demo" in line or "model=demo" in line:
            shorter = {"limit": "limit=2", "sampling.steps": "sampling.steps=2"}
            command += [setting for key, setting in shorter.items() if f"{key}=" not in line]
        done = subprocess.run(
            [sys.executable, "-m", "batchgen", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        expected = 3 if "fail_rows" in line else 0
        assert done.returncode == expected, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.usefixtures("checkout")
def test_the_python_example_of_the_readme_works(capsys: pytest.CaptureFixture[str]) -> None:
    """The example prints how the job ended and what it made."""
    for example in blocks(README, "python"):
        exec(compile(example, "README.md", "exec"), {})  # noqa: S102
    said = capsys.readouterr().out
    assert "4 images, all done" in said
    assert "6 images, all done" in said


def test_the_chinese_readme_has_the_same_commands() -> None:
    """Both READMEs hold the same code blocks, in the same order."""
    chinese = (ROOT / "README.zh.md").read_text(encoding="utf-8")
    for language in ("sh", "python"):
        assert blocks(chinese, language) == blocks(README, language)


def test_the_readme_is_short() -> None:
    """A newcomer reads at most 150 lines."""
    assert len(README.splitlines()) <= 150
