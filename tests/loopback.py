"""A Hugging Face hub on 127.0.0.1: what ``huggingface_hub`` and ``datasets`` ask, answered from folders.

``root/datasets/<owner>/<name>/**`` and ``root/models/<owner>/<name>/**`` are the repositories; a repository's commit is
a hash of its files, so that changing a file is a new commit.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import subprocess
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests import spawner

REPO = r"(?P<id>[\w.-]+/[\w.-]+)"
NOWHERE = "http://127.0.0.1:9"
API = rf"/api/(?P<kind>datasets|models)/{REPO}"
INFORMATION = re.compile(rf"{API}(?:/revision/(?P<revision>[^/]+))?")
TREE = re.compile(rf"{API}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?")
PATHS = re.compile(rf"{API}/paths-info/(?P<revision>[^/]+)")
RESOLVE = re.compile(rf"/(?P<kind>datasets/)?{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


class Hub(http.server.ThreadingHTTPServer):
    """The server, as a context manager; faults are set on it."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gated: set[str] = set()
        self.odd: dict[
            str, tuple[int, dict[str, str], bytes]
        ] = {}  # repository -> status, headers, body of all answers
        self.dropped: dict[str, tuple[int, int]] = {}  # end of a path -> at which byte to drop, how often
        self.requests: list[tuple[str, str]] = []
        self.sent: Counter[str] = Counter()  # bytes of each file, by kind, repository and name
        self.commits: dict[Path, str] = {}
        super().__init__(("127.0.0.1", 0), _Handler)

    def __enter__(self) -> Hub:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def drop_at(self, path_end: str, place: int, times: int) -> None:
        """Close the connection that many times at that byte of the file, wherever the request began."""
        self.dropped[path_end] = (place, times)

    def commit(self, repository: Path) -> str:
        """Forty hexadecimal digits of all files' places and contents."""
        if repository not in self.commits:
            digest = hashlib.sha1(usedforsecurity=False)
            for file in sorted(file for file in repository.rglob("*") if file.is_file()):
                digest.update(file.relative_to(repository).as_posix().encode() + file.read_bytes())
            self.commits[repository] = digest.hexdigest()
        return self.commits[repository]


@dataclass
class User:
    """A person with a network that ends at the loopback hub."""

    hub: Hub
    home: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HF_", "MIXER_BENCH_"))},
            **{"HF_ENDPOINT": f"http://127.0.0.1:{self.hub.server_port}", "HF_HOME": str(self.home / "hf")},
            **{"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"},
            **{"HF_HUB_DOWNLOAD_TIMEOUT": "5", "HF_HUB_ETAG_TIMEOUT": "5", "NO_PROXY": "127.0.0.1"},
            **{"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE},  # the rest of the internet cannot be reached
            **{"MIXER_BENCH_CACHE": str(self.home / "cache"), "MIXER_BENCH_DATA": str(self.home / "data")},
            **{"OMP_NUM_THREADS": "1", **variables},
        }
        return spawner.run(arguments, environment, self.home)


@dataclass
class _Refused(Exception):
    status: int
    code: str


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.server.requests.append((self.command, path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if odd := next((answer for name, answer in self.server.odd.items() if f"/{name}" in path), None):
                self._send(odd[0], odd[2], odd[1])
            elif asked := TREE.fullmatch(path):
                recursive = parse_qs(url.query).get("recursive", ["false"])[0].lower() == "true"
                self._json(_tree(self._repository(asked), asked["path"] or "", recursive))
            elif asked := PATHS.fullmatch(path):
                wanted = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
                entries = _tree(self._repository(asked), "", recursive=True)
                self._json([entry for entry in entries if entry["path"] in wanted])
            elif asked := INFORMATION.fullmatch(path):
                self._json(self._information(asked))
            elif asked := RESOLVE.fullmatch(path):
                self._file(self._repository(asked), asked["path"])
            else:
                raise _Refused(404, "EntryNotFound")
        except _Refused as refused:
            self._send(refused.status, b"{}", {"X-Error-Code": refused.code, "X-Error-Message": refused.code})

    do_HEAD = do_POST = do_GET

    def _repository(self, asked: re.Match[str]) -> Path:
        kind = "datasets" if (asked["kind"] or "").startswith("datasets") else "models"
        if asked["id"] in self.server.gated:
            raise _Refused(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        repository = self.server.root / kind / asked["id"]
        if not repository.is_dir():
            raise _Refused(401 if kind == "datasets" else 404, "RepoNotFound")
        if (asked["revision"] or "main") not in ("main", self.server.commit(repository)):
            raise _Refused(404, "RevisionNotFound")
        return repository

    def _information(self, asked: re.Match[str]) -> dict[str, Any]:
        repository = self._repository(asked)
        files = [entry for entry in _tree(repository, "", recursive=True) if entry["type"] == "file"]
        return {
            **{"id": asked["id"], "_id": "0" * 24, "sha": self.server.commit(repository), "tags": []},
            **{"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0},
            "siblings": [_sibling(repository, file["path"], file["size"]) for file in files],
        }

    def _file(self, repository: Path, name: str) -> None:
        file = repository / name
        if not file.is_file():
            raise _Refused(404, "EntryNotFound")
        content, commit = file.read_bytes(), self.server.commit(repository)
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        stop = int(asked[2]) + 1 if asked and asked[2] else len(content)
        if asked:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        place = f"{repository.relative_to(self.server.root).as_posix()}/{name}"
        self._send(206 if asked else 200, content[start:stop], headers, place, start)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str], name: str = "", start: int = 0) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for end, (limit, times) in self.server.dropped.items():
            if name and name.endswith(end) and times > 0:
                self.server.dropped[end] = (limit, times - 1)
                self.wfile.write(content[: max(0, limit - start)])
                self.close_connection = True
                self.connection.shutdown(2)
                return
        self.wfile.write(content)
        if name:
            self.server.sent[name] += len(content)


def _sibling(repository: Path, name: str, size: int) -> dict[str, Any]:
    """What the hub tells of a file: the digests of large ones, which it keeps elsewhere, are of their content."""
    told: dict[str, Any] = {"rfilename": name, "size": size}
    if size > 1 << 20:  # of these tests' images: nobody asks
        return told
    content = (repository / name).read_bytes()
    if name.endswith(".npz"):
        return told | {"lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": size, "pointerSize": 130}}
    return told | {"blobId": hashlib.sha1(b"blob %d\0" % size + content, usedforsecurity=False).hexdigest()}


def _tree(repository: Path, below: str, recursive: bool) -> list[dict[str, Any]]:
    folder = repository / below
    if not folder.is_dir():
        raise _Refused(404, "EntryNotFound")
    entries = []
    for entry in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        kind, size = ("directory", 0) if entry.is_dir() else ("file", entry.stat().st_size)
        oid = hashlib.sha1(str(entry).encode(), usedforsecurity=False).hexdigest()
        entries.append({"type": kind, "path": entry.relative_to(repository).as_posix(), "size": size, "oid": oid})
    return entries
