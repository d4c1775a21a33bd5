"""Folders that version 0.1.0 wrote go on: the same images, nothing twice, nothing lost.

samples/jobs-0.1.0/README.md says what the samples are and how they were made. In each,
commands.json has the command that goes on with it, and expected.json what 0.1.0 came to with that.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import PIL
import pyarrow.parquet as pq
import pytest

import batchgen
from batchgen.cli.main import main
from batchgen.storage import lock

SAMPLES = Path(__file__).parent / "samples" / "jobs-0.1.0"
LAST_IMAGES = {
    "finished": ("elk", 9223372036854775807, "a72de7032a173dca", "f0f58eb2de37eefa"),
    "grid": ("1", 990836433, "d57c7ccbc3b46b41", "ca4d39214e1005e6"),
    "half-way": ("r17", 3623486012, "2daf52dfa27d19c1", "fe8807c4208fbb8f"),
    "half-way-twice": ("r27", 1029646285, "5353ee22c73855f2", "3174a8fa26b4ca45"),
    "json-lines": ("4", 1010355412, "e656644662ab0cb6", "25cc0047be0b2eb4"),
    "lora": ("e", 3990334693, "0a4dde456a1f7293", "a3eda3605777186e"),
    "redo": ("r7", 3385417254, "eac7e7315a19c524", "bd1927eb85418750"),
    "seeds": ("c", 3, "097d8d768be112e4", "2a4511ca101c89d2"),
    "webp": ("4", 885886386, "48c811757aef4966", "71829a95a31d3010"),
}
"""Sample to row key, seed, fingerprint and batch id of the last image of its first job."""

POINTS = {
    "1b0976082b5c": "sampling.guidance_scale=5 sampling.steps=4",
    "4905ce12365f": "sampling.guidance_scale=7.5 sampling.steps=4",
    "9f5bd753cddc": "sampling.guidance_scale=5 sampling.steps=8",
    "299234e2a5d0": "sampling.guidance_scale=7.5 sampling.steps=8",
}
"""Folder of a point of the grid to its label."""

UNCHANGED = [
    "row_key", "image_index", "run_id", "created_at", "fingerprint", "environment", "file_sha256",
]  # fmt: skip
"""What a row keeps as long as its image is not made again."""


def content(path: Path) -> Any:
    """Return what a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def rows_of(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file."""
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


MAKER = content(SAMPLES / "versions.json")
"""What the samples were made with."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A copy of a sample, after its command was started once more."""

    place: Path
    """The working directory of the command."""
    jobs: dict[str, Any]
    """Job's folder, relative to `place`, to what is expected of it."""
    before: dict[str, pd.DataFrame]
    """Job's folder to its metadata before the start."""
    exit_code: int
    expected_exit_code: int

    def rows(self, folder: str) -> list[dict[str, Any]]:
        """Return the metadata of a job, in the order of the file."""
        return rows_of(self.place / folder / "metadata.parquet")


def copied(name: str, to: Path, patch: pytest.MonkeyPatch) -> Path:
    """Copy a sample and enter it, on a machine that has the numpy it was made with.

    That is part of a job's identity, and the one installed here may be a later one. Another
    batchgen and another Pillow refuse nothing.
    """
    place = shutil.copytree(SAMPLES / name, to / name)
    installed, then = importlib.metadata.version, {"numpy": MAKER["versions"]["numpy"]}
    patch.setattr(lock, "STALE_S", 0.1)  # another host left them
    patch.setattr(importlib.metadata, "version", lambda of: then.get(of) or installed(of))
    patch.setenv("BATCHGEN_CACHE", str(to / "cache"))
    patch.chdir(place)
    return place


@pytest.fixture(scope="module", params=LAST_IMAGES)
def resumed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    """Each sample in turn, resumed."""
    with pytest.MonkeyPatch.context() as patch:
        place = copied(str(request.param), tmp_path_factory.mktemp("older"), patch)
        expected = content(place / "expected.json")
        before = {folder: batchgen.read_metadata(folder) for folder in expected["jobs"]}
        return Resumed(
            place=place,
            jobs=expected["jobs"],
            before=before,
            exit_code=main(content(place / "commands.json")["resume_with"]),
            expected_exit_code=expected["exit_code"],
        )


def as_expected(row: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Return what expected.json has of a row: values of ours, and carried ones as text.

    0.1.0 kept the numbers and truth values of JSON Lines as text.
    """
    carried = {name: row[name] for name in expected["carried"]}
    texts = {
        name: str(value).lower()
        if isinstance(value, bool)
        else None
        if value is None
        else str(value)
        for name, value in carried.items()
    }
    return {**{name: row[name] for name in expected if name != "carried"}, "carried": texts}


@pytest.mark.parametrize("name", LAST_IMAGES)
def test_the_metadata_of_an_older_folder_can_be_read(name: str) -> None:
    """As it lies there, without a start; parts and journals count."""
    for folder, job in content(SAMPLES / name / "expected.json")["jobs"].items():
        assert len(batchgen.read_metadata(SAMPLES / name / folder)) == job["n_before"]


def test_an_older_folder_ends_as_it_would_have_ended(resumed: Resumed) -> None:
    """With the same exit code, and all images done that can be."""
    assert resumed.exit_code == resumed.expected_exit_code
    for folder, job in resumed.jobs.items():
        status = content(resumed.place / folder / "status.json")
        ended = (status["state"], status["n_done"], status["n_failed"], status["n_left"])
        assert ended == ("finished", len(job["rows"]), len(job["failures"]), 0)


def test_what_an_older_version_made_is_not_made_again(resumed: Resumed) -> None:
    """Its rows are those of the start that made them, time included."""
    for folder, job in resumed.jobs.items():
        after = batchgen.read_metadata(resumed.place / folder)
        assert len(resumed.before[folder].merge(after, on=UNCHANGED)) == job["n_kept"]


def test_the_rows_are_those_the_older_version_would_have_written(resumed: Resumed) -> None:
    """Keys, settings, seeds, batches, pixels, fingerprints and carried columns, in order.

    An environment has all versions in it, batchgen's own too, and the bytes are Pillow's.
    """
    others = ("file_sha256", "environment")
    for folder, job in resumed.jobs.items():
        for row, expected in zip(resumed.rows(folder), job["rows"], strict=True):
            wanted = {name: value for name, value in expected.items() if name not in others}
            assert as_expected(row, wanted) == wanted


@pytest.mark.skipif(
    (PIL.__version__, platform.machine()) != (MAKER["versions"]["pillow"], MAKER["machine"]),
    reason="another encoder may write other bytes for the same pixels",
)
def test_the_files_are_those_the_older_version_would_have_written(resumed: Resumed) -> None:
    """Byte for byte, with the same Pillow on the same kind of machine."""
    for folder, job in resumed.jobs.items():
        made = [row["file_sha256"] for row in resumed.rows(folder)]
        assert made == [row["file_sha256"] for row in job["rows"]]


def test_the_files_hold_what_their_rows_say(resumed: Resumed) -> None:
    """Whoever made them."""
    for folder in resumed.jobs:
        for row in resumed.rows(folder):
            file = resumed.place / folder / row["file_name"]
            assert hashlib.sha256(file.read_bytes()).hexdigest() == row["file_sha256"]


def test_failures_of_an_older_version_are_counted_on(resumed: Resumed) -> None:
    """A row that failed there once has two attempts behind it now; one that came out has none."""
    for folder, job in resumed.jobs.items():
        file = resumed.place / folder / "failures.parquet"
        failed = rows_of(file) if file.exists() else []
        assert len(failed) == len(job["failures"])
        for row, expected in zip(failed, job["failures"], strict=True):
            assert {name: row[name] for name in expected} == expected


def test_verify_finds_nothing_in_a_resumed_folder(resumed: Resumed) -> None:
    """No orphans, no row without its image, none twice."""
    codes = [main(["verify", str(resumed.place / folder)]) for folder in resumed.jobs]
    assert codes == [0] * len(resumed.jobs)


def test_seeds_and_hashes_have_the_values_they_always_had(resumed: Resumed) -> None:
    """Written down here, so that new samples do not hide a change."""
    last = resumed.rows(min(resumed.jobs))[-1]
    names = ("row_key", "seed", "fingerprint", "batch_id")
    assert tuple(last[name] for name in names) == LAST_IMAGES[resumed.place.name]


@pytest.mark.parametrize("resumed", ["grid"], indirect=True)
def test_the_points_of_an_older_grid_are_found(resumed: Resumed) -> None:
    """The same four folders under the same labels, and no fifth."""
    grid = resumed.place / "grid"
    labels = {row["folder"]: row["overrides"] for row in rows_of(grid / "sweep.parquet")}
    assert labels == POINTS
    assert {path.name for path in grid.iterdir() if path.is_dir()} == set(POINTS)


def test_images_of_an_older_version_are_not_redone_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of them have the settings before the change; without `on_change` they are in the way."""
    place = copied("redo", tmp_path, monkeypatch)
    command = content(place / "commands.json")["resume_with"]
    assert main([word for word in command if word != "on_change=redo"]) == 2
    said = capsys.readouterr().err
    assert "holds 4 finished images made with other settings" in said
    assert "steps: 4 -> 8" in said


@pytest.mark.parametrize("name", LAST_IMAGES)
def test_a_later_batchgen_and_a_later_pillow_refuse_no_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written down, not compared; a later numpy draws other noise and is refused."""
    place = copied(name, tmp_path, monkeypatch)
    command, patched = content(place / "commands.json")["resume_with"], importlib.metadata.version
    later = {"batchgen": "9.9.9", "pillow": "99.0"}
    monkeypatch.setattr(importlib.metadata, "version", lambda of: later.get(of) or patched(of))
    assert main(command) == content(place / "expected.json")["exit_code"]
    later["numpy"] = "1.99.0"
    assert main([word for word in command if word != "on_change=redo"]) == 2


@pytest.mark.parametrize("name", ["finished", "half-way", "grid"])
def test_a_setting_of_images_to_come_changes_no_older_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field that is added to `ImagesConfig` is in no identity as long as it is its default."""
    place = copied(name, tmp_path, monkeypatch)
    for left in place.rglob(".batchgen/lock"):
        left.write_bytes(b"")  # or the other process watches it for a minute
    root = Path(batchgen.__file__).parents[1]
    for part in ("batchgen", "conf"):
        shutil.copytree(root / part, tmp_path / "later" / part)
    module = tmp_path / "later" / "batchgen" / "config" / "job.py"
    field = "    lossless: bool = True\n"
    source = module.read_text(encoding="utf-8")
    assert source.count(field) == 1
    module.write_text(source.replace(field, f"{field}    effort: int = 4\n"), encoding="utf-8")
    command = [sys.executable, "-m", "batchgen", *content(place / "commands.json")["resume_with"]]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "later")}
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
    expected = content(place / "expected.json")
    assert done.returncode == expected["exit_code"], done.stderr
    for folder, job in expected["jobs"].items():
        kept = batchgen.read_metadata(SAMPLES / name / folder)
        after = batchgen.read_metadata(place / folder)
        assert len(kept.merge(after, on=UNCHANGED)) == job["n_kept"]
    if name == "grid":
        assert {path.name for path in (place / "grid").iterdir() if path.is_dir()} == set(POINTS)
