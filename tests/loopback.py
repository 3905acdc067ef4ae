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
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ID = r"(?P<id>[\w.-]+/[\w.-]+)"
API = re.compile(rf"/api/(?P<kind>datasets|models)/{ID}(?:/revision/(?P<revision>[^/]+))?")
TREE = re.compile(rf"/api/(?P<kind>datasets|models)/{ID}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?")
PATHS = re.compile(rf"/api/(?P<kind>datasets|models)/{ID}/paths-info/(?P<revision>[^/]+)")
RESOLVE = re.compile(rf"/(?P<kind>datasets/)?{ID}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


class Hub:
    """The server, as a context manager; faults are set on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gated: set[str] = set()
        self.dropped: dict[str, tuple[int, int]] = {}  # end of a path -> at which byte to drop, how often
        self.requests: list[tuple[str, str]] = []
        self.sent: Counter[str] = Counter()  # bytes of each file, by kind, repository and name
        self.commits: dict[Path, str] = {}
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

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

    def environment(self, home: Path) -> dict[str, str]:
        """Variables for a process that shall know this hub only."""
        return {
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "5",
            "HF_HUB_ETAG_TIMEOUT": "5",
            "NO_PROXY": "127.0.0.1",
        }


@dataclass
class User:
    """A person with a network that ends at the loopback hub."""

    hub: Hub
    home: Path

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HF_", "MIXER_BENCH_"))},
            **self.hub.environment(self.home / "hf"),
            **{"MIXER_BENCH_CACHE": str(self.home / "cache"), "MIXER_BENCH_DATA": str(self.home / "data")},
            **{"OMP_NUM_THREADS": "1", **variables},
        }
        command = [sys.executable, "-m", "mixer_bench", *arguments]
        return subprocess.run(command, env=environment, cwd=self.home, capture_output=True, text=True, check=False)


@dataclass
class _Refused(Exception):
    status: int
    code: str


def _handler(hub: Hub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            url = urlsplit(self.path)
            path = unquote(url.path)
            hub.requests.append((self.command, path))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                if found := TREE.fullmatch(path):
                    recursive = parse_qs(url.query).get("recursive", ["false"])[0].lower() == "true"
                    self._json(list(_tree(self._repository(found), found["path"] or "", recursive)))
                elif found := PATHS.fullmatch(path):
                    wanted = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
                    every = _tree(self._repository(found), "", True)
                    self._json([entry for entry in every if entry["path"] in wanted])
                elif found := API.fullmatch(path):
                    self._json(self._information(found))
                elif found := RESOLVE.fullmatch(path):
                    self._file(self._repository(found), found["path"])
                else:
                    raise _Refused(404, "EntryNotFound")
            except _Refused as refused:
                self._send(refused.status, b"{}", {"X-Error-Code": refused.code, "X-Error-Message": refused.code})

        def _repository(self, found: re.Match[str]) -> Path:
            kind = "datasets" if (found["kind"] or "").startswith("datasets") else "models"
            if found["id"] in hub.gated:
                raise _Refused(403 if self.headers.get("Authorization") else 401, "GatedRepo")
            repository = hub.root / kind / found["id"]
            if not repository.is_dir():
                raise _Refused(401 if kind == "datasets" else 404, "RepoNotFound")
            if (found["revision"] or "main") not in ("main", hub.commit(repository)):
                raise _Refused(404, "RevisionNotFound")
            return repository

        def _information(self, found: re.Match[str]) -> dict[str, Any]:
            repository = self._repository(found)
            files = sorted(f.relative_to(repository).as_posix() for f in repository.rglob("*") if f.is_file())
            return {
                **{"id": found["id"], "_id": "0" * 24, "sha": hub.commit(repository), "tags": []},
                **{"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0},
                "siblings": [{"rfilename": name, "size": (repository / name).stat().st_size} for name in files],
            }

        def _file(self, repository: Path, name: str) -> None:
            file = repository / name
            if not file.is_file():
                raise _Refused(404, "EntryNotFound")
            content = file.read_bytes()
            headers = {
                "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                "X-Repo-Commit": hub.commit(repository),
                "Accept-Ranges": "bytes",
            }
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            start = int(asked[1]) if asked else 0
            stop = int(asked[2]) + 1 if asked and asked[2] else len(content)
            if asked:
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
            place = f"{repository.relative_to(hub.root).as_posix()}/{name}"
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
            for end, (limit, times) in hub.dropped.items():
                if name and name.endswith(end) and times > 0:
                    hub.dropped[end] = (limit, times - 1)
                    self.wfile.write(content[: max(0, limit - start)])
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
            self.wfile.write(content)
            if name:
                hub.sent[name] += len(content)

    return Handler


def _tree(repository: Path, below: str, recursive: bool) -> Iterator[dict[str, Any]]:
    folder = repository / below
    if not folder.is_dir():
        raise _Refused(404, "EntryNotFound")
    for entry in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        kind = "directory" if entry.is_dir() else "file"
        oid = hashlib.sha1(str(entry).encode(), usedforsecurity=False).hexdigest()
        size = 0 if entry.is_dir() else entry.stat().st_size
        yield {"type": kind, "path": entry.relative_to(repository).as_posix(), "size": size, "oid": oid}
