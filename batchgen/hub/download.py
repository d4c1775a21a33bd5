"""`batchgen download`: fetch what a job needs from a hub, and check that it is complete.

Every file's SHA-256 is compared once with the hub's, and written down beside the files in a
**receipt**. What has a complete receipt is known to be there without a network. A folder that has
none is not ours, so a new one gets its receipt before its first file.
"""

from __future__ import annotations

import glob
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from batchgen.config.counts import counted
from batchgen.config.models import AdapterConfig, ModelConfig, SdxlModel
from batchgen.errors import ModelError
from batchgen.hub.hubs import RemoteFile, bytes_here, matches
from batchgen.hub.wanted import Wanted, has_files, is_left_alone, wanted_adapter, wanted_model
from batchgen.model import weights
from batchgen.model.model_file import missing
from batchgen.storage.atomic import existing_parent, write_atomically
from batchgen.storage.hashes import hashes

Say = Callable[[str], None]
"""Takes a line for the user."""


def all_wanted(
    model: ModelConfig, adapters: Mapping[str, AdapterConfig], source: str, say: Say
) -> list[Wanted]:
    """What a job needs of a hub: adapters first, which are small.

    Args:
        model: The job's model.
        adapters: Its adapters, by name; those without a `hub_id` need nothing.
        source: `modelscope`, `hf`, or a folder that holds the files.
        say: Told where the model needs nothing.

    Raises:
        ModelError: The folder has not got them, or `model.path` names files of the user's own that
            are no complete model.
    """
    wanted: list[Wanted] = [
        wanted_adapter(name, config, source)
        for name, config in adapters.items()
        if config.hub_id is not None
    ]
    if not isinstance(model, SdxlModel):
        say(f"model={model.name} has no files to fetch: it comes with batchgen.")
    elif is_left_alone(model, source):
        say(f"{weights.locate(model)} is a whole model and is left as it is.")
    else:
        wanted.append(wanted_model(model, source))
    return wanted


def listing(wanted: Wanted) -> list[str]:
    """Lines that show what a download would fetch, each file with its size."""
    files = _files(wanted)
    total = sum(file.size_bytes for file in files)
    width = max(len(file.path) for file in files)
    lines = [f"{file.path:<{width}} {file.size_bytes:>15,}" for file in files]
    return [
        *lines,
        f"{wanted.hub.name}: {counted(len(files), 'file')}, {total:,} bytes",
        wanted.licence,
    ]


def download(wanted: Wanted, say: Say) -> Path:
    """Fetch what is wanted as far as it is not here, check it, and return its folder.

    Raises `ModelError` where the hub cannot be reached, the disk is too small, or what came is not
    what the hub has.
    """
    if (place := _finished(wanted)) is not None:
        say("It is here already, with every file as the hub had it.")
        return place
    say(wanted.licence)
    files = _files(wanted)
    _refuse_full_disk(wanted.to or wanted.hub.place(), files)
    if wanted.to is not None and not has_files(wanted.to):
        _claim(wanted.to, wanted)
    folder = wanted.hub.fetch([glob.escape(file.path) for file in files], wanted.to)
    say(_comparison(wanted, files))
    for file in files:
        if not (folder / file.path).is_file():
            raise missing(folder / file.path)
    # What the hub has, so that a run refuses other content even if this ends while it compares.
    listed = {file.path: file.sha256 for file in files if file.sha256}
    _write_receipt(folder, wanted, listed, is_complete=False)
    contents = hashes([folder / file.path for file in files], weights.stamps_file())
    for file, content in zip(files, contents, strict=True):
        _refuse_other_content(folder / file.path, file, content)
    wanted.check(folder)
    found = {file.path: content for file, content in zip(files, contents, strict=True)}
    _write_receipt(folder, wanted, found, is_complete=True)
    return folder


def _files(wanted: Wanted) -> list[RemoteFile]:
    """Return the files by path. Raises `ModelError` for one that is outside of its folder."""
    files = sorted(wanted.files(), key=lambda file: file.path)
    for path in (PurePosixPath(file.path) for file in files):
        if path.is_absolute() or ".." in path.parts:
            raise ModelError(
                f"{wanted.hub.name} lists {str(path)!r}, which is outside of its folder. Take "
                "another hub, --from hf or --from modelscope, or a folder, --from FOLDER."
            )
    return files


def _claim(to: Path, wanted: Wanted) -> None:
    """Make a folder and mark it as ours, so that an interrupted download can resume in it."""
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"{to} cannot be made: {error.strerror}. Name another folder with model.path."
        ) from error
    _write_receipt(to, wanted, {}, is_complete=False)


def _comparison(wanted: Wanted, files: Sequence[RemoteFile]) -> str:
    if any(file.sha256 for file in files):
        return "Comparing SHA-256."
    reason = "the hub keeps none for them" if wanted.hub.is_remote else "the folder has no receipt"
    return f"No SHA-256 to compare with: {reason}."


def _write_receipt(
    folder: Path, wanted: Wanted, sha256: Mapping[str, str], *, is_complete: bool
) -> None:
    """Record what was fetched, and keep what was recorded before from the same source.

    What is not complete is not added to the patterns of a receipt that is.
    """
    before = weights.receipt(folder)
    if before.get("from") != wanted.hub.name:
        before = {}
    known = before.get("sha256", {})
    outdated = _matching(known, wanted.patterns) if is_complete else set()
    others = {path: known[path] for path in known.keys() - outdated}
    whole = before.get("patterns", []) if before.get("complete") is True else []
    patterns = [*whole, *wanted.patterns] if is_complete or not whole else whole
    receipt = {
        "from": wanted.hub.name,
        "patterns": list(dict.fromkeys(patterns)),
        "complete": is_complete or bool(whole),
        "sha256": {**others, **sha256},
    }
    write_atomically(folder / weights.RECEIPT, json.dumps(receipt, indent=2).encode())


def _finished(wanted: Wanted) -> Path | None:
    """The folder of an earlier download of the same, if all its files are as they were.

    None for a folder as the source: that is asked every time, for it may have changed.
    """
    if not wanted.hub.is_remote:
        return None
    try:
        folder = wanted.folder()
        receipt = weights.receipt(folder)
        is_whole = receipt.get("complete") is True
        is_of_it = {*wanted.patterns} <= {*receipt.get("patterns", [])}
        if receipt.get("from") != wanted.hub.name or not (is_whole and is_of_it):
            return None
        known = receipt["sha256"]
        paths = sorted(_matching(known, wanted.patterns))
        contents = hashes([folder / path for path in paths], weights.stamps_file())
        wanted.check(folder)
    except (ModelError, OSError):
        return None
    return folder if contents == [known[path] for path in paths] else None


def _matching(paths: Iterable[str], patterns: Sequence[str]) -> set[str]:
    return {path for path in paths if matches(path, patterns)}


def _refuse_full_disk(to: Path, files: Sequence[RemoteFile]) -> None:
    """Raise if what is not in a folder yet of the files does not fit on its disk."""
    needed = sum(file.size_bytes for file in files) - bytes_here(to, files)
    place = existing_parent(to)
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ModelError(
            f"{place} has {free:,} bytes free, and the files take {needed:,}. Make room, or name "
            "another place: a model's with model.path, the caches with MODELSCOPE_CACHE, HF_HOME "
            "or BATCHGEN_CACHE."
        )


def _refuse_other_content(path: Path, file: RemoteFile, content: str) -> None:
    if file.sha256 is not None and content != file.sha256.lower():
        path.resolve().unlink(missing_ok=True)
        raise ModelError(
            f"{path} is not the file that the hub has: its SHA-256 is {content}, not "
            f"{file.sha256}. It is deleted; start the same command again to fetch it anew."
        )
