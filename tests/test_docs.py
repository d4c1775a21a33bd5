"""What the pages of docs/ tell people to paste."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import WritePrompts

from batchgen.cli.compose import Composer
from batchgen.config.schedulers import canonical
from batchgen.storage.folder import JobFolder

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The loop of docs/reliability.md, without its pauses, in a folder with commands to run."""
    text = (DOCS / "reliability.md").read_text(encoding="utf-8")
    blocks = [str(block) for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
    (loop,) = (block for block in blocks if "idle" in block)
    for name, arguments in (("batchgen", "-m batchgen"), ("python", "")):
        script = tmp_path / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return loop.replace("sleep 10", "echo again")


def played(loop: str, more: str) -> list[str]:
    """Run the loop with further settings, and return what it said after each start."""
    table = "table=prompts.csv"
    assert loop.count(table) == 1
    settings = f"{table} output_root=outputs model=fake sampling.width=64 sampling.height=64 {more}"
    done = subprocess.run(
        ["bash", "-c", loop.replace(table, settings)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout.splitlines()


def test_the_supervisor_goes_on_past_a_row_that_kills(
    supervisor: str, prompts: WritePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three deaths of one row alone, and the job ends."""
    table = prompts(3)
    monkeypatch.chdir(table.parent)
    table.rename("prompts.csv")
    said = played(supervisor, "model.crash_rows=[1]")
    assert said[-1].startswith("outputs/night: 1 image failed, see outputs/night/failures.parquet")
    assert JobFolder(Path("outputs/night")).failures.exists()
    assert said.count("again") >= 3


def test_the_supervisor_ends_where_nothing_is_made(
    supervisor: str, prompts: WritePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start stops at once, and the fifth is the last."""
    table = prompts(3)
    monkeypatch.chdir(table.parent)
    table.rename("prompts.csv")
    said = played(supervisor, "stop.max_hours=0")
    assert said.count("again") == 5
    assert not JobFolder(Path("outputs/night")).metadata.exists()


def test_the_names_of_other_programs_mean_what_the_page_says() -> None:
    """Each name of a line, and ours in the same place."""
    text = (DOCS / "sampling.md").read_text(encoding="utf-8")
    table = text.partition("| elsewhere | here |")[2].partition("\n\n")[0]
    lines = [re.findall(r"`([^`]+)`", line) for line in table.splitlines() if "`" in line]
    assert len(lines) == 4
    for names in lines:
        theirs, ours = names[: len(names) // 2], names[len(names) // 2 :]
        assert [canonical(name) for name in theirs] == ours


def test_every_guarantee_names_a_test_that_there_is() -> None:
    """At least one a line; a test that was renamed takes its line along."""
    tests = Path(__file__).parent
    text = (DOCS / "reliability.md").read_text(encoding="utf-8")
    table = text.partition("| guarantee | test, in tests/ |")[2].partition("\n\n")[0]
    for line in table.splitlines()[2:]:
        named = re.findall(r"`([\w/.]+)::(\w+)`", line)
        assert named, line
        for file, name in named:
            assert f"def {name}(" in (tests / file).read_text(encoding="utf-8"), name


@pytest.fixture(params=["cluster.md", "cluster.zh.md"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The scripts of the page on clusters, for four small shards instead of eight or sixteen."""
    text = (DOCS / request.param).read_text(encoding="utf-8")
    small = "table=t.csv output_root=outputs model=fake sampling.width=64 sampling.height=64"
    (tmp_path / "t.csv").write_text("prompt\n" + "a cat\n" * 9)
    blocks = [str(block) for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
    changes = {
        "table=prompts.csv": small,
        " device.index=$card": "",
        "0 1 2 3 4 5 6 7": "0 1 2 3",
        "$card/8": "$card/4",
        "auto/16": "auto/4",
        "0-15": "0-3",
    }
    for old, new in changes.items():
        blocks = [block.replace(old, new) for block in blocks]
    return blocks


SBATCH = """#!/bin/bash
if [ "$1" = --parsable ]; then
  [ "$(grep -o 'array=0-[0-9]*' "$2")" = array=0-3 ] || exit 1
  for index in 0 1 2 3; do
    SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$index bash "$2" >> array.log 2>&1
  done
  echo 7
elif [ "$1 $2" = "--dependency=afterany:7 --wrap" ]; then bash -c "$3"
else exit 1; fi
"""


@pytest.mark.usefixtures("supervisor")
def test_the_scripts_for_clusters_end_with_the_whole_job(
    cluster: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand over four cards, and as an array with what follows it."""
    monkeypatch.chdir(tmp_path)
    by_hand, script, submit, *_ = cluster
    (tmp_path / "shards.sh").write_text(script)
    (tmp_path / "bin" / "sbatch").write_text(SBATCH)
    (tmp_path / "bin" / "sbatch").chmod(0o755)
    for commands, said in ((by_hand, "4 shards merged, 9 of 9"), (submit, "9 images, all done")):
        done = subprocess.run(
            ["bash", "-c", commands], capture_output=True, text=True, check=True, timeout=120
        )
        assert said in done.stdout
        assert not list(tmp_path.rglob("shard-*"))
        shutil.rmtree(tmp_path / "outputs")


@pytest.mark.ray
@pytest.mark.usefixtures("supervisor")
def test_the_scripts_with_ray_end_with_the_whole_job(
    cluster: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a cluster that the command starts, and over one that was started before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{Path(sys.executable).parent}")
    *_, at_once, by_hand, _ = cluster
    for commands in (at_once, by_hand):
        small = commands.replace("executor=ray", "executor=ray executor.workers=2")
        small = small.replace("--head", "--head --num-cpus=2").replace("6379", "6398")
        done = subprocess.run(
            ["bash", "-c", small], capture_output=True, text=True, check=True, timeout=120
        )
        assert "9 images, all done" in done.stdout
        shutil.rmtree(tmp_path / "outputs")


SRUN = """#!/bin/bash
while [[ "$1" = -* ]]; do shift; done
exec "$@"
"""


@pytest.mark.ray
@pytest.mark.usefixtures("supervisor")
def test_the_script_with_ray_under_slurm_ends_with_the_whole_job(
    cluster: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes, both here: a worker on each, for either has one core."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{Path(sys.executable).parent}")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("SLURMD_NODENAME", "127.0.0.1")
    (tmp_path / "bin" / "srun").write_text(SRUN)
    (tmp_path / "bin" / "srun").chmod(0o755)
    small = cluster[-1].replace("executor.workers=32", "executor.workers=2")
    small = small.replace("--head", "--head --num-cpus=1").replace(
        "--block", "--num-cpus=1 --block"
    )
    small = small.replace("6379", "6397")
    with (tmp_path / "said").open("w") as said:
        script = subprocess.Popen(["bash", "-c", small], stdout=said, start_new_session=True)
    try:
        assert script.wait(90) == 0
    finally:  # Slurm ends what `srun` began; nobody does here
        subprocess.run(["ray", "stop", "--force"], capture_output=True, check=False)
        os.killpg(script.pid, signal.SIGKILL)
    assert "9 images, all done" in (tmp_path / "said").read_text()
    status = json.loads((tmp_path / "outputs" / "night" / "status.json").read_text())
    assert len(status["workers"]) == 2


def test_the_manifest_of_kuberay_is_a_job_of_the_locked_version() -> None:
    """Its entry point is one that batchgen takes, and each of its pods has the volume."""
    job = yaml.safe_load((DOCS / "kuberay.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    lock = (DOCS.parent / "requirements.lock").read_text(encoding="utf-8")
    assert f"ray=={cluster['rayVersion']}\n" in lock
    command = job["spec"]["entrypoint"].partition("batchgen run ")[2].split()
    config = Composer(None).job(command)
    (group,) = cluster["workerGroupSpecs"]
    npus = int(
        group["template"]["spec"]["containers"][0]["resources"]["limits"]["huawei.com/Ascend910"]
    )
    assert config.executor.workers == group["replicas"] * npus
    assert json.loads(json.loads(group["rayStartParams"]["resources"])) == {"NPU": npus}
    for pod in (cluster["headGroupSpec"]["template"], group["template"]):
        mounts = pod["spec"]["containers"][0]["volumeMounts"]
        assert [one["name"] for one in mounts] == [one["name"] for one in pod["spec"]["volumes"]]
