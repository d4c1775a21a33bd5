"""Where models and adapters come from: ModelScope, Hugging Face, or a folder that mirrors one.

The only user of modelscope and huggingface_hub.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from batchgen.errors import ModelError
from batchgen.model import weights
from batchgen.storage.atomic import clear_leftovers, replacement

PATIENCE_S = 24 * 3600
"""How long one file may take; modelscope's own limit of an hour needs 1.4 MB/s."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as its hub describes it."""

    path: str
    """Relative, with forward slashes."""
    size_bytes: int
    sha256: str | None
    """None where the hub keeps none: Hugging Face for small files."""


class Hub(Protocol):
    """A place that has the files of one model or adapter.

    `files` and `fetch` raise `ModelError`, which says what to do.
    """

    is_remote: ClassVar[bool]
    """Whether asking it takes a network, which a receipt can spare."""

    @property
    def name(self) -> str:
        """The place, the repository and the revision, in a few words."""
        ...

    def place(self) -> Path:
        """The folder where `fetch` puts files by default, as far as it is known before."""
        ...

    def files(self, patterns: Sequence[str]) -> list[RemoteFile]:
        """The files whose whole path matches one of the patterns of fnmatch."""
        ...

    def fetch(self, patterns: Sequence[str], to: Path | None) -> Path:
        """Get those files as far as they are not there, and return their folder.

        Into `to`, or where the hub's own library keeps what it fetched. Goes on with what an
        earlier call left unfinished.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelScope:
    """ModelScope, or the server in MODELSCOPE_ENDPOINT."""

    hub_id: str
    revision: str
    is_remote: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The place, the model and the revision."""
        return f"ModelScope {self.hub_id}@{self.revision}"

    def place(self) -> Path:
        """See `Hub.place`."""
        from modelscope_hub import HubConfig

        return _repository(HubConfig().cache_dir, self.hub_id)

    def files(self, patterns: Sequence[str]) -> list[RemoteFile]:
        """See `Hub.files`; every file has its SHA-256."""
        with self._endpoint() as endpoint:
            from modelscope_hub import HubApi

            found = HubApi(endpoint=endpoint).list_repo_files(
                self.hub_id, "model", revision=self.revision
            )
        return [
            RemoteFile(file.path, file.size, file.sha256)
            for file in found
            if not file.is_dir and matches(file.path, patterns)
        ]

    def fetch(self, patterns: Sequence[str], to: Path | None) -> Path:
        """See `Hub.fetch`."""
        with self._endpoint() as endpoint:
            from modelscope import snapshot_download

            place = snapshot_download(
                self.hub_id, revision=self.revision, allow_patterns=list(patterns),
                local_dir=str(to) if to else None, endpoint=endpoint,
            )  # fmt: skip
        return Path(place)

    @contextmanager
    def _endpoint(self) -> Iterator[str]:
        """The server that has the model; errors of modelscope become sentences."""
        os.environ.setdefault("MODELSCOPE_DOWNLOAD_TOTAL_TIMEOUT", str(PATIENCE_S))
        from modelscope_hub import HubApi
        from modelscope_hub.errors import HubError

        with _errors(self.name, "MODELSCOPE_ENDPOINT", HubError):
            yield HubApi().resolve_endpoint_for_read(self.hub_id)


@dataclass(frozen=True, slots=True)
class HuggingFace:
    """Hugging Face, or the mirror in HF_ENDPOINT."""

    hub_id: str
    revision: str
    is_remote: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """The place, the model and the revision."""
        return f"Hugging Face {self.hub_id}@{self.revision}"

    def place(self) -> Path:
        """See `Hub.place`."""
        from huggingface_hub.constants import HF_HUB_CACHE

        return _repository(Path(HF_HUB_CACHE), self.hub_id)

    def files(self, patterns: Sequence[str]) -> list[RemoteFile]:
        """See `Hub.files`; large files have their SHA-256."""
        with _errors(self.name, "HF_ENDPOINT"):
            from huggingface_hub import HfApi

            info = HfApi().model_info(
                self.hub_id, revision=self.revision, files_metadata=True, timeout=60
            )
        return [
            RemoteFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else None)
            for file in info.siblings or []
            if matches(file.rfilename, patterns)
        ]

    def fetch(self, patterns: Sequence[str], to: Path | None) -> Path:
        """See `Hub.fetch`."""
        with _errors(self.name, "HF_ENDPOINT"):
            from huggingface_hub import snapshot_download

            place = snapshot_download(
                self.hub_id, revision=self.revision, allow_patterns=list(patterns), local_dir=to
            )
        return Path(place)


@dataclass(frozen=True, slots=True)
class Mirror:
    """A folder with the files: a disk that was carried here, a share."""

    folder: Path
    default: Path
    """Where to copy them to by default."""
    is_remote: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    def place(self) -> Path:
        """See `Hub.place`."""
        return self.default

    def files(self, patterns: Sequence[str]) -> list[RemoteFile]:
        """See `Hub.files`; hashes are those of the download that the folder came from, if any."""
        inside = sorted(path for path in self.folder.rglob("*") if path.is_file())
        named = ((path.relative_to(self.folder).as_posix(), path) for path in inside)
        known = weights.receipt(self.folder).get("sha256", {})
        return [
            RemoteFile(name, path.stat().st_size, known.get(name))
            for name, path in named
            if matches(name, patterns)
        ]

    def fetch(self, patterns: Sequence[str], to: Path | None) -> Path:
        """See `Hub.fetch`; files of equal size and time are not copied again."""
        place = to or self.default
        if place.resolve() == self.folder.resolve():
            raise ModelError(f"--from {self.folder} is the folder to copy to. Name another.")
        with _errors(self.name, "--from"):
            for file in self.files(patterns):
                _copy(self.folder / file.path, place / file.path)
        return place


def _repository(cache: Path, hub_id: str) -> Path:
    """Where a repository lies in a hub's cache, or is likely to."""
    places = [at for at in weights.hub_places(hub_id) if at.is_relative_to(cache)]
    return next((at for at in places if at.is_dir()), (places or [cache])[0])


def bytes_here(folder: Path, files: Sequence[RemoteFile]) -> int:
    """How much of the files a folder has, in whole ones and in the parts that the libraries keep.

    Of a snapshot in a cache, Hugging Face keeps the parts beside all snapshots.
    """
    whole = sum(file.size_bytes for file in files if (folder / file.path).is_file())
    top = folder.parent.parent if folder.parent.name == "snapshots" else folder
    return whole + sum(part.stat().st_size for part in top.rglob("*.incomplete"))


def _copy(source: Path, target: Path) -> None:
    before = source.stat()
    if target.is_file():
        there = target.stat()
        if (there.st_size, there.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
            return
    target.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(target.parent, is_ours=False)
    with replacement(target) as draft:
        shutil.copyfile(source, draft)
        os.utime(draft, ns=(before.st_atime_ns, before.st_mtime_ns))


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Whether a whole path matches one of the patterns of fnmatch."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


@contextmanager
def _errors(name: str, variable: str, kind: type[Exception] = OSError) -> Iterator[None]:
    """Turn what the hubs' libraries raise into one sentence, and keep their logs off the terminal.

    `variable` is what names another server; `kind` an error beside `OSError` and `ValueError`.
    """
    logger = logging.getLogger("modelscope_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    except (OSError, ValueError, kind) as error:
        raise ModelError(_sentence(name, variable, error)) from error
    finally:
        logger.setLevel(level)


def _sentence(name: str, variable: str, error: Exception) -> str:
    failed: dict[str, Exception] = getattr(error, "failed_files", {})
    file, cause = next(iter(failed.items()), ("", error))
    where = f"{file}: " if file else ""
    first_line = (str(cause).partition(" (Caused by")[0].splitlines() or [""])[0].rstrip(".")
    # modelscope says this one in Chinese only.
    is_late = isinstance(cause, TimeoutError)
    reason = "no answer in time" if is_late else f"{type(cause).__name__}: {first_line}"
    return (
        f"{name} cannot be fetched: {where}{reason}. "
        "What has come is kept: start the same command again and it goes on. If the hub cannot be "
        f"reached, take the other one (--from hf, --from modelscope), name a mirror with "
        f"{variable}, or copy the files from another machine with --from FOLDER."
    )
