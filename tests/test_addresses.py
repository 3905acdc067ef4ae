"""The weekly question whether what is fetched is still there: what is asked, and what is made of answers."""

import http.server
import importlib.util
import re
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mixer_bench.data import archives
from mixer_bench.models import zoo

ROOT = Path(__file__).parent.parent


class Server(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        name = self.path.rpartition("/")[2]
        if name == "slow":
            self.server.ended.wait(5)
        status = {"gone": 404, "private": 401, "get-only": 405, "old": 302}.get(name, 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/there")
        self.send_header("Content-Length", "7" if name == "there" else "0")
        self.end_headers()

    def do_GET(self) -> None:
        assert (self.path, self.headers["Range"]) == ("/get-only", "bytes=0-0")
        self.send_response(206)
        self.send_header("Content-Range", "bytes 0-0/7")
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"x")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.ended = threading.Event()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.ended.set()
        server.shutdown()


@pytest.fixture(scope="module")
def asking() -> ModuleType:
    spec = importlib.util.spec_from_file_location("addresses", ROOT / "tools" / "addresses.py")
    module = sys.modules["addresses"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("place", "size", "problem"),
    [
        ("there", 7, ""),
        ("there", 8, "7 bytes, not 8"),
        ("old", 7, ""),
        ("untold", 7, ""),
        ("get-only", 7, ""),
        ("get-only", 8, "7 bytes, not 8"),
        ("gone", 7, "HTTP 404 (gone, renamed or private)"),
        ("private", None, "HTTP 401 (gone, renamed or private)"),
        ("slow", 7, "timed out"),
    ],
)
def test_an_answer_in_words(asking: ModuleType, address: str, place: str, size: int | None, problem: str) -> None:
    patience = 0.1 if place == "slow" else 5
    assert asking.answer(f"{address}/{place}", size, patience).problem == problem


def test_nobody_there_is_a_problem(asking: ModuleType) -> None:
    assert "refused" in asking.answer("http://127.0.0.1:9/x").problem


def test_what_has_one_living_address_is_no_failure(asking: ModuleType, address: str) -> None:
    things = [
        asking.Asked("a set", (f"{address}/gone", f"{address}/there"), 7),
        asking.Asked("weights", (f"{address}/private",)),
        asking.Asked("another", (f"{address}/there",), 7),
    ]
    answers = [[asking.answer(place, thing.size) for place in thing.addresses] for thing in things]
    text, whole = asking.issue(things, answers)
    assert not whole
    lost, _, elsewhere = text.partition("## To be had elsewhere")
    assert "| weights" in lost and "/private" in lost and "a set" not in lost
    assert "/gone" in elsewhere and "/there" not in text
    assert asking.issue(things[:1], answers[:1])[1]


def test_everything_declared_is_asked_for(asking: ModuleType) -> None:
    places = {place for thing in asking.everything("HUB") for place in thing.addresses}
    assert all(thing.addresses for thing in asking.everything("HUB"))
    texts = [archives.TABLE.read_text(encoding="utf-8")]
    assert set(re.findall(r'"(https?://[^"]+)"', "".join(texts))) <= places
    for file in (ROOT / "tasks").rglob("*.toml"):
        for repo in re.findall(r'^repo = "(.+)"', file.read_text(encoding="utf-8"), re.MULTILINE):
            assert f"HUB/api/datasets/{repo}" in places
    prepared = tomllib.loads((ROOT / "mixer_bench" / "data" / "prepared.toml").read_text(encoding="utf-8"))
    for name, versions in prepared["versions"].items():
        for version in versions:
            assert any(f"/{name}/" in place and f"/{version}/" in place for place in places), (name, version)
    fetched = [card.weights for card in zoo.cards().values() if card.weights.startswith(("hf-hub:", "https:"))]
    assert {
        weights if weights.startswith("https") else f"HUB/api/models/{weights[7:]}" for weights in fetched
    } <= places
