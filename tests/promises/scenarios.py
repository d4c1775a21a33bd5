"""Nine small jobs, each with a folder before it, a command that is disturbed, and its end."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from injection import Call, Commands, Ended, Fault, Mode

from batchgen.ledger.schema import FAILURES, METADATA
from batchgen.storage.folder import JobFolder

N_IMAGES = 6
_RUN = (
    "run", "table=t.csv", "name=t", "output_root=outputs", "model=fake",
    "model.batch_sensitive=true", "batch_size=2", "sampling.width=64", "sampling.height=64",
)  # fmt: skip
_MOST_ATTEMPTS = 3
_STATUS = ("state", "n_images", "n_done", "n_failed", "n_left", "failed_by_type")
_REPAIR = ("verify", "--repair", "outputs/t")
_VARYING = {column.name for column in (*METADATA, *FAILURES) if not column.repeats}


@dataclass(frozen=True, slots=True)
class Earlier:
    """A command that makes the folder before; killed at the first call of a kind, if one is given.

    `nth` says which of them, from 1.
    """

    overrides: tuple[str, ...] = ()
    killed_at: Call | None = None
    nth: int = 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """A job: what was there before, and the command whose every I/O call is disturbed."""

    overrides: tuple[str, ...] = ()
    before: tuple[Earlier, ...] = ()
    damage: Callable[[JobFolder], None] | None = None
    is_repair: bool = False
    command: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Derive the command."""
        command = _REPAIR if self.is_repair else (*_RUN, *self.overrides)
        object.__setattr__(self, "command", command)

    @property
    def after(self) -> tuple[tuple[str, ...], ...]:
        """The commands that end the job after a fault, without another."""
        if self.is_repair:
            return (_REPAIR, _RUN)
        return (self.command,)


def _damage(folder: JobFolder) -> None:
    """Alter an image, delete one, leave one without a row, and a part that does not open."""
    images = sorted(folder.root.glob("images/*/*"))
    images[1].write_bytes(b"no picture")
    images[4].unlink()
    shutil.copy(images[0], images[0].with_name("000000077-0.png"))
    (folder.parts / "00000009-20260101T000000Z-abcdef.parquet").write_bytes(b"no parquet")


_COMMIT = Call("fsync", ".batchgen/journals/N.jsonl")
_COMPACTION = Call("rename", "metadata.parquet")

SCENARIOS: dict[str, Scenario] = {
    "fresh": Scenario(),
    "redo": Scenario(("on_change=redo", "sampling.steps=8"), (Earlier(),)),
    "redo with another format": Scenario(("on_change=redo", "images=webp"), (Earlier(),)),
    "failing row": Scenario(("model.fail_rows=[3]",)),
    "retry": Scenario(("retry.failed=true",), (Earlier(("model.fail_rows=[3]",)),)),
    "black picture": Scenario(("model.blank_rows=[2]",)),
    "repair": Scenario((), (Earlier(),), _damage, is_repair=True),
    "journal left": Scenario((), (Earlier((), _COMMIT, 2),)),
    "compaction": Scenario((), (Earlier(("limit=2",)), Earlier(("limit=4",), _COMPACTION))),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job's folder holds, without what may differ between two runs of the same job."""

    files: dict[str, bytes | None]
    """Every file but those below .batchgen/removed; None for those that are not pictures."""
    rows: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    status: dict[str, Any]

    @classmethod
    def of(cls, folder: JobFolder) -> Outcome:
        """Read a folder."""
        files = {}
        for path in sorted(folder.root.rglob("*")):
            name = str(path.relative_to(folder.root))
            if path.is_dir() or name.startswith((".batchgen/removed/", ".batchgen/lock.claim")):
                continue  # a claim names its dead process until there is work again
            files[name] = path.read_bytes() if name.startswith("images/") else None
        status = json.loads(folder.status_json.read_text())
        return cls(
            files=files,
            rows=_rows(folder.metadata),
            failures=_rows(folder.failures),
            status={name: status[name] for name in _STATUS},
        )

    def differences(self, other: Outcome) -> list[str]:
        """Return in words how this one differs from another."""
        found = [f"{name} is left over" for name in self.files.keys() - other.files.keys()]
        found += [f"{name} is missing" for name in other.files.keys() - self.files.keys()]
        both = self.files.keys() & other.files.keys()
        found += [
            f"{name} has other bytes" for name in both if self.files[name] != other.files[name]
        ]
        found += _unlike("metadata.parquet", self.rows, other.rows)
        found += _unlike("failures.parquet", self.failures, other.failures)
        found += _unlike("status.json", [self.status], [other.status])
        return sorted(found)


def _unlike(name: str, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> Iterator[str]:
    if len(ours) != len(theirs):
        yield f"{name} has {len(ours)} rows instead of {len(theirs)}"
        return
    for mine, other in zip(ours, theirs, strict=True):
        for column in other:
            if mine.get(column) != other[column]:
                yield f"{name}: {column} is {mine.get(column)!r} instead of {other[column]!r}"


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    table: pa.Table = pq.read_table(path)
    kept = [name for name in table.column_names if name not in _VARYING]
    return table.select(kept).to_pylist()


class Bench:
    """Where a scenario is played, again and again, each time from the same folder before."""

    def __init__(self, place: Path, commands: Commands, name: str) -> None:
        """Make the folder before, and the undisturbed end."""
        self.name, self.scenario = name, SCENARIOS[name]
        self._commands = commands
        self._place = place
        self.folder = JobFolder(place / "outputs" / "t")
        self._before = place / "before"
        place.mkdir()
        rows = [f"k{n},prompt {n},note {n}\n" for n in range(N_IMAGES)]
        (place / "t.csv").write_text("id,prompt,note\n" + "".join(rows))
        self.folder.root.parent.mkdir()
        for earlier in self.scenario.before:
            self._prepare(earlier)
        if self.scenario.damage is not None:
            self.scenario.damage(self.folder)
        shutil.copytree(self.folder.root.parent, self._before)
        undisturbed = self.disturb(Fault())
        self.calls, self.code = undisturbed.calls, undisturbed.code
        """Of the undisturbed command."""
        self.halfway = Outcome.of(self.folder)
        """What it leaves; a start may have to follow."""
        self.finish()
        self.reference = Outcome.of(self.folder)

    def _prepare(self, earlier: Earlier) -> None:
        command = [*_RUN, *earlier.overrides]
        if earlier.killed_at is None:
            self._run(command, None)
            return
        kept = self._place / "kept"
        shutil.copytree(self.folder.root.parent, kept)
        calls = self._run(command, Fault()).calls
        shutil.rmtree(self.folder.root.parent)
        kept.rename(self.folder.root.parent)
        numbers = [n for n, call in enumerate(calls, start=1) if call == earlier.killed_at]
        ended = self._run(command, Fault(Mode.kill, numbers[earlier.nth - 1]))
        assert ended.code == -9, ended

    def _run(self, command: list[str] | tuple[str, ...], fault: Fault | None) -> Ended:
        return self._commands.run(
            list(command), at=self._place, fault=fault, watch=self.folder.root
        )

    def disturb(self, fault: Fault) -> Ended:
        """Play the scenario's command from the folder before, with a fault in it."""
        shutil.rmtree(self.folder.root.parent)
        shutil.copytree(self._before, self.folder.root.parent)
        return self._run(self.scenario.command, fault)

    def finish(self) -> list[str]:
        """End the job without faults, attempts included; return in words what went wrong."""
        wrong = []
        for command in (*self.scenario.after, *[self.scenario.after[-1]] * _MOST_ATTEMPTS):
            ended = self._run(command, None)
            if ended.code not in (0, 3):
                wrong.append(f"the next {command[0]} ends with {ended.code}: {ended.said.strip()}")
            if command == self.scenario.after[-1] and not self._has_attempts():
                break
        return wrong

    def _has_attempts(self) -> bool:
        """Whether an image that failed has attempts left, so that another start would try it."""
        path = self.folder.failures
        return path.exists() and not all(pq.read_table(path)["is_final"].to_pylist())

    def problems(self, *, halfway: bool = False) -> list[str]:
        """Return in words how the folder differs from the undisturbed one, `verify` included.

        `halfway` compares with what the undisturbed command leaves, else with the end.
        """
        reference = self.halfway if halfway else self.reference
        try:
            found = Outcome.of(self.folder).differences(reference)
        except (OSError, ValueError) as error:
            return [f"the folder cannot be read: {error}"]
        verified = self._run(("verify", "outputs/t"), None)
        if verified.code:
            found.append(f"verify ends with {verified.code}: {verified.said.strip()}")
        return [re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{6}", "RUN", line) for line in found]
