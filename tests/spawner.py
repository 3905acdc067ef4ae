"""The command line in an environment of its own, in forks of a process that has loaded what does not look at that.

Seconds less a command than a new interpreter. Libraries that read the environment as they are imported, those of the
Hugging Face hub above all, are imported once for each environment.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest


def run(arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line with nothing but that environment, in that folder."""
    if not hasattr(os, "fork"):
        pytest.skip("needs a POSIX system")
    process = _process()
    assert process.stdin and process.stdout
    with tempfile.TemporaryDirectory() as place:
        said = [Path(place, name) for name in ("stdout", "stderr")]
        order = {"arguments": arguments, "environment": dict(environment), "folder": str(folder)}
        process.stdin.write(json.dumps({**order, "said": list(map(str, said))}) + "\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, *(file.read_text(encoding="utf-8") for file in said))


@functools.cache
def _process() -> subprocess.Popen[str]:
    """Start the process; it ends when its input does."""
    command = [sys.executable, "-m", "tests.spawner"]
    folder = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)
    atexit.register(process.communicate)
    return process


def _obey(order: Mapping[str, Any]) -> NoReturn:
    """In the fork: the command line, its words into files."""
    os.chdir(order["folder"])
    for number, file in enumerate(order["said"], start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
    from mixer_bench.cli import app

    code = 1
    try:
        code = app.main(list(order["arguments"]))
    except BaseException:  # noqa: BLE001  which must end here: whoever forked is further down the stack
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # an interpreter with all this loaded takes seconds to end


def _settle(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))  # the program may be a copy


def _done(order: Mapping[str, Any], settled: bool) -> int:
    """Fork, obey, and return the exit code."""
    if not (child := os.fork()):
        if not settled:
            _settle(order["environment"])
        _obey(order)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class _Household:
    """A fork in one environment with the libraries loaded that look at it, which forks for each command."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.orders, end = multiprocessing.Pipe()
        self.process = os.fork()
        if not self.process:
            self.orders.close()
            _settle(environment)
            import datasets  # noqa: F401

            import mixer_bench.cli.app
            import mixer_bench.models.networks
            import mixer_bench.runs.runner  # noqa: F401

            with contextlib.suppress(EOFError):
                while True:
                    end.send(_done(end.recv(), settled=True))
            os._exit(0)
        end.close()

    def done(self, order: Mapping[str, Any]) -> int:
        self.orders.send(order)
        return int(self.orders.recv())

    def close(self) -> None:
        self.orders.close()
        os.waitpid(self.process, 0)


def _serve() -> None:
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import torch
    import torchvision  # noqa: F401

    torch.set_num_threads(1)
    gc.freeze()
    household = None
    for line in sys.stdin:
        order = json.loads(line)
        if "--offline" in order["arguments"]:  # which the libraries must hear before they are loaded
            code = _done(order, settled=False)
        else:
            if household is None or household.environment != order["environment"]:
                if household is not None:
                    household.close()
                household = _Household(order["environment"])
            code = household.done(order)
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
