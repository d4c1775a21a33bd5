"""The executor that a config names."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import RunJob, WritePrompts

from batchgen.config.workers import ExecutorConfig, ExecutorKind
from batchgen.errors import ConfigError
from batchgen.executors import choice
from batchgen.executors.local import LocalExecutor
from batchgen.runner.result import JobResult


def test_without_ray_its_installation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started; the default needs none."""
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'batchgen\[ray\]'"):
        choice.executor_of(ExecutorConfig(kind=ExecutorKind.ray))
    assert isinstance(choice.executor_of(ExecutorConfig()), LocalExecutor)


def test_a_finished_job_imports_no_ray(prompts: WritePrompts, run_job: RunJob) -> None:
    """Nor does one that is made in this process."""
    prompts(2)
    done: JobResult = run_job()
    code = (
        "import sys, batchgen\n"
        f"result = batchgen.run(table={str(done.folder.parent.parent / 't.csv')!r}, model='fake', "
        f"output_root={str(done.folder.parent)!r}, executor='ray',\n"
        "sampling={'width': 64, 'height': 64})\n"
        "print(result.exit_code, 'ray' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "0 False\n"
