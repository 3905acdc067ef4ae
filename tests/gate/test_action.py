"""The gate as a GitHub action: its script with an event, a results folder and an API of the test's own."""

import http.server
import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from mixer_bench.cli import app
from tests.gate.checks import check, fill

ROOT = Path(__file__).parent.parent.parent
REQUEST = ["run", "--task", "toy", "--model", "colours,other", "--protocol", "fewshot", "--shots", "5", "--limit", "9"]


class Api(http.server.BaseHTTPRequestHandler):
    """GitHub's, as far as comments go: pages of two."""

    comments: dict[int, str]  # by id
    status = 200

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer secret"
        page = int(self.path.rpartition("page=")[2])
        self.answer([{"id": i, "body": body} for i, body in self.comments.items()][2 * page - 2 : 2 * page])

    def do_POST(self) -> None:
        assert self.path == "/repos/me/mine/issues/7/comments"
        self.comments[len(self.comments)] = self.body()
        self.answer({})

    def do_PATCH(self) -> None:
        self.comments[int(self.path.removeprefix("/repos/me/mine/issues/comments/"))] = self.body()
        self.answer({})

    def body(self) -> str:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]

    def answer(self, value: object) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[type[Api]]:
    handler = type("Fresh", (Api,), {"comments": {0: "first!", 1: "well done", 2: "any news?"}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        handler.address = f"http://127.0.0.1:{server.server_port}"
        yield handler
        server.shutdown()


@pytest.fixture
def action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: type[Api]) -> ModuleType:
    """The action's script, called for pull request 7."""
    (tmp_path / "event.json").write_text(json.dumps({"pull_request": {"number": 7}}))
    inputs = {"TASK": "toy", "MODEL": "colours,other", "PROTOCOL": "fewshot", "SHOTS": "5", "ARGS": "--limit 9"}
    inputs |= {"BASELINE": str(tmp_path / "baseline.json"), "MIN_DROP": "0.5", "TOKEN": "secret"}
    github = {"EVENT_PATH": tmp_path / "event.json", "API_URL": api.address, "REPOSITORY": "me/mine"}
    github |= {"OUTPUT": tmp_path / "output", "STEP_SUMMARY": tmp_path / "summary"}
    for prefix, values in (("GATE", inputs), ("GITHUB", github)):
        for name, value in values.items():
            monkeypatch.setenv(f"{prefix}_{name}", str(value))
    monkeypatch.setenv("RUNNER_TEMP", str(tmp_path))
    spec = importlib.util.spec_from_file_location("gate_action", ROOT / "tools" / "gate_action.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def done(action: ModuleType, worse: float, code: int = 0) -> int:
    """Do the action with results that are so much worse, or runs that end with ``code``; return its exit code."""

    def main(arguments: list[str]) -> int:
        if arguments[0] != "run":
            return app.main(arguments)
        assert arguments[:-2] == REQUEST
        if not code:
            fill(Path(arguments[-1]), worse)
        return code

    action.app = SimpleNamespace(main=main)
    return action.main()


def outputs(tmp_path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (tmp_path / "output").read_text().splitlines())


def test_a_drop_is_commented_as_a_table_and_the_next_push_renews_the_comment(action, api, tmp_path: Path) -> None:
    check(tmp_path / "baseline.json", fill(tmp_path / "old"), "--update")
    assert done(action, 0.03) == 1
    mark, _, text = api.comments[3].partition("\n")
    assert mark == f"<!-- mixer-bench gate: {tmp_path / 'baseline.json'} -->"
    assert "**FAIL: accuracy dropped in 1 of 2 groups;" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| colours"))
    assert "-3.0" in row
    assert str(tmp_path) not in text, "what leaves the machine has no path of it"
    assert outputs(tmp_path)["verdict"] == "FAIL"

    assert done(action, 0.0) == 0
    assert [*api.comments.values()][:3] == ["first!", "well done", "any news?"]
    mark, _, text = api.comments.pop(3).partition("\n")
    assert len(api.comments) == 3
    assert "**PASS: no drop in 2 groups**" in text
    assert (tmp_path / "summary").read_text().endswith(text)
    assert outputs(tmp_path)["verdict"] == "PASS"
    assert Path(outputs(tmp_path)["comment"]).read_text() == text


def test_without_a_baseline_the_comment_says_how_to_make_one(action, api, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GATE_BASELINE", "ci/none.json")
    assert done(action, 0.0) == 2
    assert "ERROR: there is no baseline ci/none.json" in api.comments[3]
    made = f"mixer-bench {' '.join(REQUEST)}\nmixer-bench check ci/none.json --update"
    assert made in api.comments[3]
    assert outputs(tmp_path)["verdict"] == "ERROR"


@pytest.mark.parametrize(
    ("code", "said"), [(3, "the runs ended with exit code 3"), (0, "nothing could be judged, exit code 1")]
)
def test_what_ends_without_a_verdict_is_an_error(action, api, tmp_path: Path, code: int, said: str, capsys) -> None:
    (tmp_path / "baseline.json").write_text("{")
    assert done(action, 0.0, code) == 2
    assert f"ERROR: {said}" in api.comments[3]
    assert f"ERROR: {said}" in capsys.readouterr().out, "the job's log says it, too"
    assert outputs(tmp_path)["verdict"] == "ERROR"


def test_a_comment_that_is_refused_leaves_the_verdict(action, api, tmp_path: Path, monkeypatch, capsys) -> None:
    api.status = 403
    monkeypatch.setattr(action, "judged", lambda _folder: (0, "PASS"))
    assert action.main() == 0
    assert "::warning::no comment could be written: HTTPError" in capsys.readouterr().out
    assert outputs(tmp_path)["verdict"] == "PASS"


def test_a_push_has_no_pull_request_to_comment(action, api, tmp_path: Path, capsys) -> None:
    (tmp_path / "event.json").write_text(json.dumps({"ref": "refs/heads/main"}))
    action.comment("PASS", "secret")
    assert len(api.comments) == 3
    assert "nothing is commented" in capsys.readouterr().out


def test_the_action_hands_on_every_input_that_the_script_reads() -> None:
    declared = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    handed = declared["runs"]["steps"][-1]["env"]
    assert {name for name in declared["inputs"] if name != "python-version"} == {
        name.removeprefix("GATE_").lower().replace("_", "-") for name in handed
    }
    read = set(re.findall(r'given\("(\w+)"\)', (ROOT / "tools" / "gate_action.py").read_text(encoding="utf-8")))
    assert {f"GATE_{name}" for name in read} == set(handed)
