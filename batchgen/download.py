"""`batchgen download`: fetch what a job needs from a hub, and see that it came whole.

Every file's SHA-256 is compared once with the hub's, and written down beside the files in a
**receipt**. What has a receipt is known to be there without a network.
"""

from __future__ import annotations

import fnmatch
import glob
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from batchgen import weights
from batchgen.errors import ModelError
from batchgen.hashes import hashes
from batchgen.hubs import RemoteFile
from batchgen.models import AdapterConfig, ModelConfig, SdxlModel
from batchgen.orders import Order, adapter_order, is_left_alone, model_order
from batchgen.storage import existing_parent, write_atomically
from batchgen.tensors import missing

Say = Callable[[str], None]
"""Takes a line for the user."""


def orders(
    model: ModelConfig, adapters: Mapping[str, AdapterConfig], source: str, say: Say
) -> list[Order]:
    """What a job needs from `modelscope`, `hf`, or a folder: adapters first, which are small.

    Says so where the model needs nothing.
    """
    wanted: list[Order] = [
        adapter_order(name, config, source)
        for name, config in adapters.items()
        if config.hub_id is not None
    ]
    if not isinstance(model, SdxlModel):
        say(f"model={model.name} has no files to fetch: it comes with batchgen.")
    elif is_left_alone(model, source):
        say(f"{weights.locate(model)} is a whole model and is left as it is.")
    else:
        wanted.append(model_order(model, source))
    return wanted


def listing(wanted: Order) -> list[str]:
    """Lines that show what a download would fetch, each file with its size."""
    files = _files(wanted)
    total = sum(file.size_bytes for file in files)
    width = max(len(file.path) for file in files)
    lines = [f"{file.path:<{width}} {file.size_bytes:>15,}" for file in files]
    return [*lines, f"{wanted.hub.name}: {len(files)} files, {total:,} bytes", wanted.licence]


def download(wanted: Order, say: Say) -> Path:
    """Fetch what is ordered as far as it is not here, check it, and return its folder.

    Raises `ModelError` where the hub cannot be reached, the disk is too small, or what came is not
    what the hub has.
    """
    if (place := _finished(wanted)) is not None:
        say("It is here already, with every file as the hub had it.")
        return place
    say(wanted.licence)
    files = _files(wanted)
    if wanted.to is not None:
        _refuse_full_disk(wanted.to, files)
    folder = wanted.hub.fetch([glob.escape(file.path) for file in files], wanted.to)
    say("Comparing SHA-256.")
    for file in files:
        if not (folder / file.path).is_file():
            raise missing(folder / file.path)
    # Before they are compared, so that a model that was not is never taken for one of the user's.
    _write_receipt(folder, wanted, {file.path: file.sha256 for file in files if file.sha256})
    contents = hashes([folder / file.path for file in files], weights.stamps_file())
    for file, content in zip(files, contents, strict=True):
        _refuse_other_content(folder / file.path, file, content)
    wanted.check(folder)
    found = {file.path: content for file, content in zip(files, contents, strict=True)}
    _write_receipt(folder, wanted, found)
    return folder


def _files(wanted: Order) -> list[RemoteFile]:
    return sorted(wanted.files(), key=lambda file: file.path)


def _write_receipt(folder: Path, wanted: Order, sha256: Mapping[str, str]) -> None:
    """Write down what came, beside what came from the same place before: a folder may hold more."""
    before = weights.receipt(folder)
    if before.get("from") != wanted.hub.name:
        before = {}
    known = before.get("sha256", {})
    others = {path: known[path] for path in known.keys() - _matching(known, wanted.patterns)}
    patterns = dict.fromkeys([*before.get("patterns", []), *wanted.patterns])
    receipt = {"from": wanted.hub.name, "patterns": list(patterns), "sha256": {**others, **sha256}}
    write_atomically(folder / weights.RECEIPT, json.dumps(receipt, indent=2).encode())


def _finished(wanted: Order) -> Path | None:
    """The folder of an earlier download of the same, if all its files are as they were."""
    try:
        folder = wanted.folder()
        receipt = weights.receipt(folder)
        is_of_it = {*wanted.patterns} <= {*receipt.get("patterns", [])}
        if receipt.get("from") != wanted.hub.name or not is_of_it:
            return None
        known = receipt["sha256"]
        paths = sorted(_matching(known, wanted.patterns))
        contents = hashes([folder / path for path in paths], weights.stamps_file())
        wanted.check(folder)
    except (ModelError, OSError):
        return None
    return folder if contents == [known[path] for path in paths] else None


def _matching(paths: Iterable[str], patterns: Sequence[str]) -> set[str]:
    return {
        path for path in paths if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
    }


def _refuse_full_disk(to: Path, files: Sequence[RemoteFile]) -> None:
    needed = sum(file.size_bytes for file in files if not (to / file.path).is_file())
    place = existing_parent(to)
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ModelError(
            f"{place} has {free:,} bytes free, and the files take {needed:,}. Make room, or name "
            "a folder elsewhere with model.path."
        )


def _refuse_other_content(path: Path, file: RemoteFile, content: str) -> None:
    if file.sha256 is not None and content != file.sha256.lower():
        path.resolve().unlink(missing_ok=True)
        raise ModelError(
            f"{path} is not the file that the hub has: its SHA-256 is {content}, not "
            f"{file.sha256}. It is deleted; start the same command again to fetch it anew."
        )
