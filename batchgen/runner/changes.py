"""What is different from what a job's folder holds: settings, table, files; refused or told.

Reads only. Where a setting says what to do (`on_change`, `on_missing`, `on_removed`), the messages
name it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from batchgen.config.counts import counted
from batchgen.config.job import OnChange, OnMissing, OnRemoved
from batchgen.errors import FolderError, JobChanged, TableError
from batchgen.ledger.contents import Contents
from batchgen.ledger.image_names import Missing
from batchgen.ledger.reader import keys_of, live_tables
from batchgen.ledger.records import Key
from batchgen.plan.backlog import Backlog
from batchgen.plan.fingerprint import text_hashes
from batchgen.runner.committed import Committed
from batchgen.runner.identity import Job, as_read, comparable
from batchgen.table import LATER, Table
from batchgen.table.columns import override

_MANY = 100
"""Missing images above which, if they are most of all, a disk may not be mounted."""


def refuse_other_table(job: Job, table: Table) -> None:
    """Raise `JobChanged` for a table at another path with another content than the folder's."""
    before = (job.folder.identity() or {}).get("table")
    if not isinstance(before, dict):
        return
    path, sha256 = before.get("resolved"), before.get("sha256")
    is_known = isinstance(path, str) and isinstance(sha256, str)
    if not is_known or job.config.on_change is not OnChange.refuse:
        return
    now = Path(job.config.table).resolve()
    if Path(str(path)) != now and sha256 != table.sha256():
        given = now if job.staged is None else "the one in memory"
        raise JobChanged(
            f"{job.folder.root} holds images of the table {path}, and {given} is "
            "another: neither the path nor the content is the same. Choose another name= for it; "
            "on_change=redo or on_change=keep takes its rows as edits of the first one's."
        )


def refuse_carried_settings(job: Job) -> None:
    """Raise `FolderError` for a folder that carried a column before its name was a setting's.

    The column in its metadata would be read as the setting.
    """
    before = job.folder.identity() or {}
    try:
        carried, known = before["table"]["columns_carried"], before["config"]["sampling"]
        names = sorted(LATER.intersection(carried).difference(known))
    except (KeyError, TypeError):
        return  # no job yet, or a job.json from elsewhere
    if names:
        raise FolderError(
            f"{job.folder.root} carries the table's column {names[0]!r} in its metadata, and that "
            "is the name of a setting now. Choose another name= for the job; "
            f"{override(names[0], '')} carries the column there, too."
        )


def refuse_own_seeds(job: Job, table: Table, backlog: Backlog) -> None:
    """Raise `TableError` where `seeds` are given for a table with seeds of its own.

    A folder of version 0.1.0, which made one image of such a row, goes on.
    """
    row = backlog.own_seed
    content = job.folder.identity()
    if row is not None and (content is None or "format" in content):
        raise TableError(
            f"{table.place(row)}: column {table.columns_used['seed']!r} gives a seed, and "
            f"seeds={job.config.seeds} gives several to every row. Take seeds out, empty the cell, "
            "or set reading.columns.seed='' to carry the column only."
        )


def refuse_missing(job: Job, missing: Missing) -> None:
    """Raise `FolderError` for image files that are gone, where that may be a mistake."""
    mode = job.config.on_missing
    is_most = missing.n_images > _MANY and 2 * missing.n_images > missing.n_committed
    if not missing.n_images or not (mode is OnMissing.refuse or (mode is None and is_most)):
        return
    why = " Is a disk not mounted?" if is_most else ""
    raise FolderError(
        f"{job.folder.root}: no file for {missing.n_images:,} of "
        f"{counted(missing.n_committed, 'finished image')}, the first {missing.first}.{why} "
        "on_missing=redo makes them again, on_missing=drop takes them out of the metadata, "
        "on_missing=trust does not look for them."
    )


def refuse_changes(job: Job, table: Table, backlog: Backlog, contents: Contents) -> None:
    """Raise `JobChanged` where finished images differ and `on_change` is `refuse`."""
    if backlog.n_changed and job.config.on_change is OnChange.redo and job.merged is not None:
        changed = counted(backlog.n_changed, "finished image")
        raise JobChanged(
            f"{job.merged.root} holds {changed} made with other settings, and a shard leaves them "
            "as they are: on_change=redo is for a start without shard, on_change=keep for this one."
        )
    if backlog.n_changed and job.config.on_change is OnChange.refuse:
        raise JobChanged("\n".join(_difference(job, table, backlog, contents)))


def _difference(job: Job, table: Table, backlog: Backlog, contents: Contents) -> Iterator[str]:
    changed = counted(backlog.n_changed, "finished image")
    yield f"{job.folder.root} holds {changed} made with other settings."
    before = (job.folder.identity() or {}).get("identity")
    now = as_read(job.description)
    for key, old, new in _differences(comparable(before or now), now):
        yield f"  {key}: {old} -> {new}"
    for which, fields in _row_differences(job, backlog, contents):
        what = "; ".join(fields.values()) or "same settings, other model or environment"
        yield f"  {which}: {what}"
    if "row_key" not in table.columns_used and _have_moved(table, contents):
        yield (
            "Most rows look moved: their prompts are in the table, in other rows. Rows without ids "
            "are known by their number, so one that is inserted changes all after it: give the "
            "table a column id, and start a job of its own."
        )
    yield (
        "on_change=redo makes them again, on_change=keep leaves them as they are, "
        "and another name= starts a job of its own."
    )


def _row_differences(
    job: Job, backlog: Backlog, contents: Contents
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the first changed images, each with what is different by the name of the setting."""
    wanted = {image.key: image for image in backlog.changed}
    for _, table in live_tables(contents):
        if not wanted:
            return
        for row in table.to_pylist():
            image = wanted.pop((row["row_key"], row["image_index"]), None)
            if image is None:
                continue
            now = image.settings.as_columns()
            fields = {k: f"{k}: {row.get(k)!r} -> {v!r}" for k, v in now.items() if row.get(k) != v}
            fields |= _environment_differences(job, row["environment"])
            yield (
                f"row {image.row_index} (key {image.row_key!r}), image {image.image_index}",
                fields,
            )


def _environment_differences(job: Job, environment: str) -> dict[str, str]:
    """Return what of the environment is another now than when a row was made, by its name."""
    known = (job.folder.identity() or {}).get("environments", {})
    now = as_read(comparable(job.environment))
    then = comparable(known.get(environment, now))
    return {key: f"{key}: {old} -> {new}" for key, old, new in _differences(then, now)}


def _differences(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{prefix}.{key}".lstrip("."))
    elif old != new:
        yield prefix, json.dumps(old, ensure_ascii=False), json.dumps(new, ensure_ascii=False)


def _have_moved(table: Table, contents: Contents) -> bool:
    """Return whether most of the rows that changed have the prompt of another finished row."""
    prompts: dict[str, set[str]] = {}
    for _, rows in live_tables(contents):
        for row in rows.select(["row_key", "text"]).to_pylist():
            prompts.setdefault(row["text"], set()).add(row["row_key"])
    n_moved = n_changed = 0
    for chunk in table.chunks():
        both = (chunk.settings[name].to_pylist() for name in ("row_key", "prompt"))
        for row_key, prompt in zip(*both, strict=True):
            places = prompts.get(prompt, set())
            n_changed += row_key not in places
            n_moved += bool(places) and row_key not in places
    return 2 * n_moved > n_changed


@dataclass(frozen=True, slots=True)
class Taken:
    """Finished images that the table does not ask for any more."""

    left: list[tuple[Key, str]]
    """Key and file of those whose row left the table."""
    n_narrowed: int
    """Those whose row is there, with fewer seeds or images than it had."""


def taken(backlog: Backlog, contents: Contents) -> Taken:
    """Return which finished images the table does not ask for any more, and why."""
    left: list[tuple[Key, str]] = []
    n_narrowed = 0
    columns = ["row_key", "image_index", "file_name"]
    for _, table in live_tables(contents, columns) if len(backlog.taken) else ():
        gone = table.filter(np.isin(keys_of(table), backlog.taken))
        for row, is_there in zip(gone.to_pylist(), _in_table(gone, backlog), strict=True):
            if is_there:
                n_narrowed += 1
            else:
                left.append(((row["row_key"], row["image_index"]), row["file_name"]))
    return Taken(left, n_narrowed)


def _in_table(rows: pa.Table, backlog: Backlog) -> list[bool]:
    if len(backlog.row_hashes):
        return list(np.isin(text_hashes(rows["row_key"]), backlog.row_hashes))
    keys = rows["row_key"].to_pylist()
    return [str(key).isdecimal() and int(str(key)) < backlog.n_rows for key in keys]


def remarks(job: Job, backlog: Backlog, contents: Contents) -> list[str]:
    """Return what the last line of a job must say besides the number of its images."""
    said = []
    if backlog.n_changed and job.config.on_change is OnChange.keep:
        fields = [fields for _, fields in _row_differences(job, backlog, contents)]
        names = ", ".join(dict.fromkeys(name for one in fields for name in one))
        said.append(
            f"{backlog.n_changed:,} of them kept although other settings are asked for now "
            f"({names or 'model'}): on_change=keep"
        )
    if backlog.n_dropped:
        said.append(
            f"{backlog.n_dropped:,} more left out since their files were gone "
            "(on_missing=redo makes them again)"
        )
    return said


def notes(job: Job, table: Table, backlog: Backlog, committed: Committed, gone: Taken) -> list[str]:
    """Return what the user should know before the job starts."""
    said, missing, contents = [*table.notes], committed.missing, committed.contents
    said += backlog.cautions
    if missing.n_images:
        fate = "they are made again (on_missing=drop leaves them out)"
        if job.config.on_missing is OnMissing.drop:
            fate = "they are left out from now on (on_missing=drop)"
        said.append(
            f"no file for {counted(missing.n_images, 'finished image')}, the first "
            f"{missing.first}: {fate}."
        )
    if gone.left:
        fate = "they stay (on_removed=drop takes them out)"
        if job.config.on_removed is OnRemoved.drop:
            fate = "they are moved to .batchgen/removed (on_removed=drop; keep leaves them)"
        said.append(
            f"no row in the table any more for {counted(len(gone.left), 'finished image')}, the "
            f"first {gone.left[0][1]}: {fate}."
        )
    if gone.n_narrowed:
        said.append(
            f"{counted(gone.n_narrowed, 'finished image')} of seeds or image indexes that are not "
            "asked for any more: they stay."
        )
    if backlog.own_seed is not None:
        said.append(
            f"rows with a seed of their own, the first row {backlog.own_seed}, make one image each "
            "beside seeds, as in version 0.1.0, which made this folder."
        )
    return [*said, *(f"{remark}." for remark in remarks(job, backlog, contents))]
