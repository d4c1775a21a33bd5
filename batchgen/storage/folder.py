"""Every path of a job's folder, and what its job.json and status.json say."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from batchgen.errors import FolderError
from batchgen.storage.atomic import opening_errors, reading_errors, write_atomically

GRID_FILE = "sweep.parquet"
"""What marks a folder as a grid of jobs."""

SHARD = re.compile(r"shard-\d{2,}-of-\d{2,}", re.ASCII)
"""The name of a shard's folder in its job's."""
"""The name of a shard's folder in that of its job; see `config.shard`."""

FORMAT = 1
"""Number of the form of job.json and of all that is in a job's folder; 0.1.0 wrote none."""

_OBJECTS = ("identity", "config", "table", "environments", "shards")
"""What of job.json are objects, where they are there."""

_CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path:
    - metadata.parquet
    - images/**
---

# Images made by batchgen

`metadata.parquet` has a row for each image: `file_name` is its path, `text` its prompt. `job.json`
says how they were made.

    from datasets import load_dataset
    images = load_dataset("imagefolder", data_dir=".", split="train")
"""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The folder of one job; knows every path in it."""

    root: Path

    @property
    def job_json(self) -> Path:
        """Identity of the job: config, model, table and versions of the last start."""
        return self.root / "job.json"

    @property
    def metadata(self) -> Path:
        """Finished images, compacted."""
        return self.root / "metadata.parquet"

    @property
    def failures(self) -> Path:
        """Images that failed and were not made since; absent where there is none."""
        return self.root / "failures.parquet"

    @property
    def card(self) -> Path:
        """The dataset card."""
        return self.root / "README.md"

    @property
    def status_json(self) -> Path:
        """Progress and heartbeat of the running or the last start."""
        return self.root / "status.json"

    @property
    def report(self) -> Path:
        """Pictures of the whole job, for people; no row names them, so no dataset holds them."""
        return self.root / "report"

    @property
    def hidden(self) -> Path:
        """What only batchgen reads."""
        return self.root / ".batchgen"

    @property
    def journals(self) -> Path:
        """Commits that are not in a part yet."""
        return self.hidden / "journals"

    @property
    def parts(self) -> Path:
        """Sealed metadata files that are not in metadata.parquet yet."""
        return self.hidden / "parts"

    @property
    def seals(self) -> Path:
        """SHA-256 of each sealed file."""
        return self.hidden / "seals"

    @property
    def kept_table(self) -> Path:
        """The prompt table of a job that was given one in memory."""
        return self.hidden / "table.parquet"

    @property
    def known_table(self) -> Path:
        """What the last whole pass over the prompt table taught; may be deleted at any time."""
        return self.hidden / "known-table"

    @property
    def merged_shards(self) -> Path:
        """Shards whose rows are all in this folder, while they are deleted."""
        return self.hidden / "merged"

    @property
    def removed(self) -> Path:
        """Files that were taken out of the dataset and kept."""
        return self.hidden / "removed"

    @property
    def images(self) -> Path:
        """The image files, in subfolders of ten thousand rows each; may be a link to a folder."""
        return self.root / "images"

    @property
    def lock(self) -> Path:
        """The process that holds the folder."""
        return self.hidden / "lock"

    @property
    def log(self) -> Path:
        """Messages of all starts, times in UTC."""
        return self.hidden / "log.txt"

    def crash_note(self, run_id: str) -> Path:
        """Where a start that dies of a fatal signal leaves its stack; absent after a plain kill."""
        return self.hidden / f"crash-{run_id}.txt"

    def crash_notes(self) -> list[Path]:
        """Return the crash notes of all starts."""
        return list(self.hidden.glob("crash-*.txt"))

    def image_name(self, number: int, image_index: int, suffix: str) -> str:
        """Return an image's path relative to the folder; digits only, ten thousand a folder.

        Words in the path would make the ImageFolder reader of `datasets` guess at splits.
        """
        return f"images/{number // 10_000:05d}/{number:09d}-{image_index}.{suffix}"

    @staticmethod
    def image_number(name: str) -> int | None:
        """Return the number in a name that `image_name` gave, None for any other."""
        found = re.fullmatch(r"images/\d{5,14}/(\d{9,18})-\d+\.[a-z]+", name, re.ASCII)
        return int(found[1]) if found else None

    def create(self) -> None:
        """Make the folder and those in it, where missing; harmless beside another start."""
        with opening_errors(self.root):
            self.journals.mkdir(parents=True, exist_ok=True)
            for place in (self.parts, self.seals, self.images):
                place.mkdir(exist_ok=True)

    def write_card(self) -> None:
        """Write the dataset card, unless there is one; the caller holds the lock."""
        if not self.card.exists():
            write_atomically(self.card, _CARD.encode())

    def refuse_unless_job(self) -> None:
        """Raise `FolderError` if something else than a job, or nothing yet, is here."""
        with reading_errors(self.root):
            for path in (self.root, *self.root.parents):
                if path.exists() and not path.is_dir():
                    raise FolderError(
                        f"{path} is a file, and a folder is needed there. "
                        "Choose another name= or output_root=."
                    )
            is_grid = (self.root / GRID_FILE).exists()
            names = [path.name for path in self.root.iterdir()] if self.root.is_dir() else []
        if is_grid:
            raise FolderError(
                f"{self.root} is a grid of jobs ({GRID_FILE} is in it) and cannot become one job. "
                "Choose another name=, or go on with the grid: batchgen run -m ..."
            )
        foreign = [name for name in names if not SHARD.fullmatch(name)]
        if foreign and not self.is_job():
            raise FolderError(
                f"{self.root} holds files that no job put there, {min(foreign)!r} for one. "
                "Choose another name= or output_root=."
            )

    def shards(self) -> list[JobFolder]:
        """Return the shards of this job that are not merged into it yet, ordered by name."""
        with reading_errors(self.root):
            there = sorted(self.root.glob("shard-*"))
        found = [path for path in there if SHARD.fullmatch(path.name)]
        return [folder for folder in map(JobFolder, found) if folder.is_job()]

    def refuse_shards(self) -> None:
        """Raise `FolderError` for a job that lies in shards: they are merged first."""
        shards = self.shards()
        if shards:
            merge = shlex.join(["batchgen", "merge", str(self.root)])
            raise FolderError(
                f"{self.root} lies in shards, {len(shards):,} so far, the first "
                f"{shards[0].root.name}: merge them when they have stopped: {merge}"
            )

    def is_job(self) -> bool:
        """Whether a job has been started here. Raises `FolderError` where that cannot be read."""
        with reading_errors(self.root):
            return self.hidden.is_dir() or self.job_json.is_file()

    def identity(self) -> dict[str, Any] | None:
        """Return what job.json says, None where there is none yet."""
        try:
            with reading_errors(self.root):
                if not self.root.is_dir():
                    return None
                content = json.loads(self.job_json.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise FolderError(
                f"{self.job_json} cannot be read ({error}). Move it away to go on; the images are "
                "then compared by their own metadata."
            ) from error
        if not _is_identity(content):
            raise FolderError(
                f"{self.job_json} was not written by batchgen. Move it away to go on; the images "
                "are then compared by their own metadata."
            )
        number = content.get("format", FORMAT)
        if not isinstance(number, int) or number > FORMAT:
            raise FolderError(
                f"{self.job_json} has format {number!r}, and this version of batchgen knows up to "
                f"{FORMAT}: a newer one wrote it. Go on with that one, or choose another name=."
            )
        return content

    def write_json(self, path: Path, content: dict[str, Any]) -> None:
        """Replace one of the folder's JSON files."""
        text = json.dumps(content, ensure_ascii=False, indent=2)
        write_atomically(path, text.encode("utf-8", "surrogatepass") + b"\n")


def _is_identity(content: Any) -> TypeGuard[dict[str, Any]]:
    """Whether JSON has the shape of a job.json, as far as it is looked into."""
    if not isinstance(content, dict) or "identity" not in content:
        return False
    objects = [content[name] for name in _OBJECTS if name in content]
    if not all(isinstance(one, dict) for one in objects):
        return False
    return all(isinstance(one, dict) for one in content.get("environments", {}).values())


def is_dangling(path: Path) -> bool:
    """Whether a path is a link that leads nowhere."""
    return path.is_symlink() and not path.exists()


def no_job(root: Path) -> FolderError:
    """Return the error of a folder that is not a job's, or of a link that leads nowhere."""
    if is_dangling(root):
        return FolderError(f"{root} is a link to {str(root.readlink())!r}, and nothing is there.")
    return FolderError(f"{root} is not a job's folder: there is no job.json in it.")
