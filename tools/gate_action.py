"""Run the accuracy gate as a step of a GitHub workflow: action.yml calls it, its inputs are the variables GATE_....

The outcome goes to the job's summary page, to the outputs ``verdict`` and ``comment``, and, where a token is given and
the event is of a pull request, to one comment there, which the next push renews. Ends with 1 on FAIL, 2 on ERROR.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from mixer_bench.cli import app

LONGEST = 60_000  # characters of a comment; GitHub takes 65,536
A_PAGE = 100  # comments
PATIENCE = 30.0  # seconds
VERDICTS = {0: "PASS", 1: "FAIL"}


def given(name: str) -> str:
    """Return an input of the action; empty where it was left out."""
    return os.environ.get(f"GATE_{name}", "").strip()


def request() -> list[str]:
    """Return the options of ``run`` that the inputs stand for."""
    options = [("--task", given("TASK")), ("--model", given("MODEL")), ("--protocol", given("PROTOCOL"))]
    options.append(("--shots", given("SHOTS")))
    return [*(word for option in options if option[1] for word in option), *shlex.split(given("ARGS"))]


def judged(folder: Path) -> tuple[int, str]:
    """Measure into an empty ``folder`` and check; return the exit code and the outcome as Markdown."""
    baseline, results, options = Path(given("BASELINE")), folder / "results", request()
    if not baseline.is_file():
        commands = f"mixer-bench run {shlex.join(options)}\nmixer-bench check {baseline} --update"
        return 2, told(f"ERROR: there is no baseline {baseline}", f"Make it and commit it:\n\n```\n{commands}\n```\n")
    os.environ["MIXER_BENCH_CACHE"] = str(folder / "cache")  # features kept from before would hide another torch
    if code := app.main(["run", *options, "--output-dir", str(results)]):
        return 2, told(f"ERROR: the runs ended with exit code {code}", "The job's log says why.\n")
    page = folder / "page.md"
    os.environ["GITHUB_STEP_SUMMARY"] = str(page)  # where check writes its Markdown
    code = app.main(["check", str(baseline), "--results", str(results), "--min-drop", given("MIN_DROP")])
    if page.is_file():
        return code, page.read_text(encoding="utf-8")
    return 2, told(f"ERROR: nothing could be judged, exit code {code}", "The job's log says why.\n")


def told(verdict: str, detail: str) -> str:
    """Return Markdown in the form of the gate's own."""
    return f"### mixer-bench check\n\n**{verdict}**\n\n{detail}\n"


def append(variable: str, text: str) -> None:
    """Add text to the file that GitHub names in a variable; print it where there is none."""
    if place := os.environ.get(variable):
        with Path(place).open("a", encoding="utf-8") as opened:
            opened.write(text)
    else:
        print(text)


def comment(text: str, token: str) -> None:
    """Put the outcome under the pull request of the event: into the comment of this baseline's gate, else a new one."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    if "pull_request" not in event:
        print("note: this event is not of a pull request; nothing is commented")
        return
    mark = f"<!-- mixer-bench gate: {given('BASELINE')} -->"
    issues = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/issues"
    place = f"{issues}/{event['pull_request']['number']}/comments"
    body = {"body": f"{mark}\n{text if len(text) <= LONGEST else text[:LONGEST] + ' ... (the rest is in the job)'}"}
    number = 1
    while listed := asked("GET", f"{place}?per_page={A_PAGE}&page={number}", token):
        for written in listed:
            if written["body"].startswith(mark):
                asked("PATCH", f"{issues}/comments/{written['id']}", token, body)
                return
        number += 1
    asked("POST", place, token, body)


def asked(method: str, address: str, token: str, body: object = None) -> Any:
    """Return what GitHub's REST API answers.

    Raises:
        OSError: it refuses, or cannot be reached.
    """
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
    content = None if body is None else json.dumps(body).encode()
    asking = urllib.request.Request(address, content, headers, method=method)
    with urllib.request.urlopen(asking, timeout=PATIENCE) as answer:
        return json.load(answer)


def main() -> int:
    """Do all of it; return the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="mixer-bench-gate-", dir=os.environ.get("RUNNER_TEMP")))
    summary = os.environ.get("GITHUB_STEP_SUMMARY", "")
    code, text = judged(folder)
    os.environ["GITHUB_STEP_SUMMARY"] = summary
    file = folder / "comment.md"
    file.write_text(text, encoding="utf-8")
    if code not in VERDICTS:
        print(text)  # check has told its verdict itself
    append("GITHUB_STEP_SUMMARY", text)
    append("GITHUB_OUTPUT", f"verdict={VERDICTS.get(code, 'ERROR')}\ncomment={file}\n")
    if token := given("TOKEN"):
        try:
            comment(text, token)
        except (
            OSError,
            http.client.HTTPException,
            ValueError,
            KeyError,
        ) as error:  # the verdict stands, whoever may read it
            print(f"::warning::no comment could be written: {type(error).__name__}: {error}")
    return code


if __name__ == "__main__":
    sys.exit(main())
