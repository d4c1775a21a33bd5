"""A local stand-in for ModelScope and Hugging Face: it speaks as much of their APIs as we use."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from modelscope_hub import HubConfig, set_default_config


@dataclass
class HubServer:
    """What the server has, how it misbehaves, and what it was asked for."""

    folder: Path
    """The files of its one model."""
    url: str = ""
    cut_after: dict[str, int] = field(default_factory=dict)
    """Files whose first answer ends after so many bytes."""
    wrong: set[str] = field(default_factory=set)
    """Files whose listed hash is another."""
    gone: set[str] = field(default_factory=set)
    """Files that are listed and answered with 404."""
    delay_s: dict[str, float] = field(default_factory=dict)
    """Files whose answer is late."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Each file asked for, with the Range header of the request."""

    def files(self) -> list[str]:
        """Return the paths of all files."""
        inside = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in inside)

    def sha256(self, name: str) -> str:
        """Return the hash that is listed for a file."""
        digest = hashlib.sha256((self.folder / name).read_bytes()).hexdigest()
        return digest[::-1] if name in self.wrong else digest


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_HEAD(self) -> None:
        """Answer as to GET, without the content."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer for either hub."""
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        if address.path.endswith("/repo/files"):
            self._listing_of_modelscope(query.get("Root", ""))
        elif address.path.endswith("/repo"):
            self._file(query["FilePath"])
        elif address.path.startswith("/api/models/"):
            self._listing_of_hugging_face()
        elif found := re.search(r"/resolve/[^/]+/(.+)", address.path):
            self._file(unquote(found[1]))
        else:
            self._json({"Code": 10010205001, "Message": "not found", "Success": False}, 404)

    def _listing_of_modelscope(self, root: str) -> None:
        names = [name for name in self.hub.files() if name.startswith(root)]
        entries = [
            {"Path": name, "Name": Path(name).name, "Type": "blob", "Sha256": self.hub.sha256(name),
             "Size": (self.hub.folder / name).stat().st_size, "Revision": "0" * 40}
            for name in names
        ]  # fmt: skip
        self._json({"Code": 200, "Data": {"Files": entries}, "Success": True})

    def _listing_of_hugging_face(self) -> None:
        siblings: list[dict[str, Any]] = []
        for name in self.hub.files():
            size = (self.hub.folder / name).stat().st_size
            entry: dict[str, Any] = {"rfilename": name, "size": size, "blobId": "0" * 40}
            if name.endswith(".safetensors"):
                entry["lfs"] = {"sha256": self.hub.sha256(name), "size": size, "pointerSize": 134}
            siblings.append(entry)
        self._json({"id": "o/m", "sha": "f" * 40, "siblings": siblings, "private": False})

    def _file(self, name: str) -> None:
        path, span = self.hub.folder / name, self.headers.get("Range", "")
        if self.command == "GET":
            self.hub.asked.append((name, span))
        time.sleep(self.hub.delay_s.get(name, 0))
        if name in self.hub.gone or not path.is_file():
            self._json({"Code": 404, "Message": f"{name} not found", "Success": False}, 404)
            return
        content = path.read_bytes()
        start = int(found[1]) if (found := re.match(r"bytes=(\d+)-", span)) else 0
        self.send_response(206 if span else 200)
        if span:
            total = len(content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{self.hub.sha256(name)}"')
        self.send_header("X-Repo-Commit", "f" * 40)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = self.hub.cut_after.pop(name, len(content))
        self.wfile.write(content[start:end])
        if end < len(content):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _json(self, value: object, status: int = 200) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)


@contextmanager
def serving(folder: Path) -> Iterator[HubServer]:
    """Serve the model in a folder on a port of this machine."""
    hub = HubServer(folder)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let modelscope ask a server, and again without a pause.

    It reads its variables once in a process, so they are reread.
    """
    monkeypatch.setattr("modelscope_hub._download.DOWNLOAD_INTEGRITY_RETRY_BACKOFF", 0.0)
    monkeypatch.setattr("modelscope_hub._download.DOWNLOAD_RETRY_TIMES", 1)
    monkeypatch.setattr("modelscope_hub._legacy_api.REPO_TREE_PAGE_RETRY_MAX_DELAY_SECONDS", 0)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", url)
    set_default_config(HubConfig())


def command(home: Path, hub: HubServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a download in a process of its own: Hugging Face's library reads its server once."""
    return subprocess.run(
        [sys.executable, "-m", "batchgen", "download", *arguments],
        capture_output=True, text=True, check=False, cwd=home,
        env=os.environ | {"HF_ENDPOINT": hub.url, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
