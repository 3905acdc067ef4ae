"""The command line in a process where packages are not installed, or so it seems: one process for many commands."""

from __future__ import annotations

import contextlib
import importlib.abc
import io
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple


class Said(NamedTuple):
    """How a command ended, and its words."""

    code: int | None  # None: a traceback
    words: str


class Light:
    """A process that imports nothing but what it is asked for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, hidden: Collection[str], command: list[str] | str) -> Said:
        """Do a command, or Python's text, while those modules cannot be imported."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([*hidden]) + "\n" + json.dumps(command) + "\n")
        self._process.stdin.flush()
        return Said(*json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def process() -> Iterator[Light]:
    """Start one; it ends with the context."""
    command = [sys.executable, "-m", "tests.light"]
    folder = Path(__file__).resolve().parents[1]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder) as started:
        yield Light(started)
        started.communicate()


class _Hidden(importlib.abc.MetaPathFinder):
    """Asked for modules before all others."""

    names: Collection[str] = ()

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def _done(command: list[str] | str) -> int | None:
    try:
        if isinstance(command, str):
            exec(command, {})
            return 0
        from mixer_bench.cli import app

        return app.main(command)
    except Exception:  # noqa: BLE001  what it is, the test reads
        traceback.print_exc()
        return None


def _serve() -> None:
    sys.meta_path.insert(0, hidden := _Hidden())
    answers = sys.stdout
    while names := sys.stdin.readline():
        hidden.names = json.loads(names)
        loaded = {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in hidden.names}
        words = io.StringIO()
        with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words):
            code = _done(json.loads(sys.stdin.readline()))
        sys.modules.update(loaded)
        answers.write(json.dumps([code, words.getvalue()]) + "\n")
        answers.flush()
    os._exit(0)  # an interpreter with all this loaded takes a second to end


if __name__ == "__main__":
    _serve()
