"""What the tests of several rooms share: tables in `tmp_path` and small jobs of the fake model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest

from batchgen.config import JobConfig
from batchgen.keywords import config_from


class WriteTable(Protocol):
    """Writes a table and returns its path."""

    def __call__(self, text: str, name: str = "t.csv") -> Path:
        """Write `text` to a file of this name in `tmp_path`."""


class MakeConfig(Protocol):
    """Makes the config of a small, fast job."""

    def __call__(self, table: str | Path = "t.csv", **settings: Any) -> JobConfig:
        """Take what `batchgen.run` takes, on top of the fake model at 64 x 64."""


@pytest.fixture
def write_table(tmp_path: Path) -> WriteTable:
    """Return a function that writes a table into `tmp_path`."""

    def write(text: str, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8", newline="")
        return path

    return write


@pytest.fixture
def fake_config(tmp_path: Path) -> MakeConfig:
    """Return a function that makes the config of a job of the fake model below `tmp_path`."""

    def make(table: str | Path = "t.csv", **settings: Any) -> JobConfig:
        sampling = {"width": 64, "height": 64, **settings.pop("sampling", {})}
        base = {"model": "fake", "output_root": str(tmp_path / "outputs"), "sampling": sampling}
        return config_from({"table": str(table), **base, **settings})

    return make


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return `tmp_path`, made the working directory, with a table t.csv of three prompts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("id,prompt\na,a cat\nb,a dog\nc,a bird\n", encoding="utf-8")
    return tmp_path
