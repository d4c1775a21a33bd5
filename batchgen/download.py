"""`batchgen download`: fetch what one variant of a model needs, and see that it came whole.

Every file's SHA-256 is compared once with the hub's, and written down beside the model in a
**receipt**. A model with a receipt is known to be there without a network.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchgen import weights
from batchgen.errors import ModelError
from batchgen.hashes import hashes
from batchgen.hubs import Hub, HuggingFace, Mirror, ModelScope, RemoteFile
from batchgen.model_files import WEIGHTS
from batchgen.models import SdxlModel
from batchgen.storage import existing_parent, write_atomically
from batchgen.tensors import missing

LICENCE = (
    "Stable Diffusion XL is licensed under CreativeML Open RAIL++-M: using it, you accept the "
    "terms in its LICENSE.md."
)

Say = Callable[[str], None]
"""Takes a line for the user."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be fetched, from where, to where."""

    hub: Hub
    patterns: list[str]
    """Of fnmatch, on paths inside the model's folder."""
    to: Path | None
    """None is where the hub's library keeps what it fetched."""
    model: SdxlModel


def order(model: SdxlModel, source: str) -> Order:
    """What `batchgen download` fetches: from `modelscope`, `hf`, or a folder.

    Configs and tokenizers only where `model.path` is a single file, which lacks just these.
    """
    files = weights.files_in(Path(), model)
    named = model.path if files.single is None else model.config_path
    to = Path(named).expanduser() if named else None
    return Order(_hub(model, source), [*files.patterns(), "LICENSE*"], to, model)


def _hub(model: SdxlModel, source: str) -> Hub:
    if source == "modelscope":
        return ModelScope(model.hub_id, model.hub_revision)
    if source == "hf":
        return HuggingFace(model.huggingface_id, model.huggingface_revision)
    return Mirror(Path(source).expanduser().absolute(), weights.mirror_folder(model.hub_id))


def listing(wanted: Order) -> list[str]:
    """Lines that show what a download would fetch, each file with its size."""
    files = _files(wanted)
    total = sum(file.size_bytes for file in files)
    width = max(len(file.path) for file in files)
    lines = [f"{file.path:<{width}} {file.size_bytes:>15,}" for file in files]
    return [*lines, f"{wanted.hub.name}: {len(files)} files, {total:,} bytes", LICENCE]


def download(wanted: Order, say: Say) -> Path:
    """Fetch a model as far as it is not here, check it, and return its folder.

    Raises `ModelError` where the hub cannot be reached, the disk is too small, or what came is not
    what the hub has.
    """
    if (place := _finished(wanted)) is not None:
        say("It is here already, with every file as the hub had it.")
        return place
    say(LICENCE)
    files = _files(wanted)
    if wanted.to is not None:
        _refuse_full_disk(wanted.to, files)
    folder = wanted.hub.fetch(wanted.patterns, wanted.to)
    say("Comparing SHA-256.")
    for file in files:
        if not (folder / file.path).is_file():
            raise missing(folder / file.path)
    contents = hashes([folder / file.path for file in files], weights.stamps_file())
    for file, content in zip(files, contents, strict=True):
        _refuse_other_content(folder / file.path, file, content)
    weights.files_in(folder, wanted.model).check()
    found = {file.path: content for file, content in zip(files, contents, strict=True)}
    receipt = {"from": wanted.hub.name, "patterns": wanted.patterns, "sha256": found}
    write_atomically(folder / weights.RECEIPT, json.dumps(receipt, indent=2).encode())
    return folder


def _files(wanted: Order) -> list[RemoteFile]:
    """What the hub has of the model; refused at once if that is no whole model."""
    files = sorted(wanted.hub.files(wanted.patterns), key=lambda file: file.path)
    names = {file.path for file in files}
    with_weights = {name.partition("/")[0] for name in names if name.endswith(".safetensors")}
    lacking = [] if "model_index.json" in names else ["model_index.json"]
    if weights.files_in(Path(), wanted.model).single is None:
        lacking += [f"{name}/*.safetensors" for name in sorted({*WEIGHTS} - with_weights)]
    if lacking:
        raise ModelError(
            f"{wanted.hub.name} has no {', '.join(lacking)} for model.variant="
            f"{wanted.model.variant}. Choose another variant (null for files without one), or "
            "another model.hub_id."
        )
    return files


def _finished(wanted: Order) -> Path | None:
    """The folder of an earlier download of the same, if all its files are as they were."""
    try:
        folder = wanted.to or weights.find(wanted.model).folder
        receipt = weights.receipt(folder)
        if (receipt.get("from"), receipt.get("patterns")) != (wanted.hub.name, wanted.patterns):
            return None
        paths = [folder / path for path in receipt["sha256"]]
        is_same = hashes(paths, weights.stamps_file()) == list(receipt["sha256"].values())
        weights.files_in(folder, wanted.model).check()
    except (ModelError, OSError):
        return None
    return folder if is_same else None


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
