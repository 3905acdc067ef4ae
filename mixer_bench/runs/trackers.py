"""The process that a tracker is in: trackio, wandb or TensorBoard, told of one run after another.

``python -m mixer_bench.runs.trackers trackio`` reads what to tell it from its input, a JSON list a line: the name of a
method and its arguments. It has no terminal and nothing of the measurement, so that a tracker may ask, print, wait or
fail as it likes. The first failure is a line of the output. When the input ends, so does the process.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TextIO

from mixer_bench.system.network import first_line

Values = Mapping[str, float]


class Tracked(Protocol):
    """A run of the tracker, which began when this was made of ``name, group, project, config, folder``."""

    def log(self, step: int, values: Values) -> None:
        """Add points at a step to the curves of these names."""
        ...

    def finish(self, scores: Values | None) -> None:
        """End the run; None: it has no scores, because it failed or was broken off."""
        ...


class Trackio:
    """https://huggingface.co/docs/trackio: a local folder (TRACKIO_DIR), or where its own variables say."""

    def __init__(self, name: str, group: str, project: str, config: Mapping[str, Any], folder: str) -> None:  # noqa: ARG002
        """Begin a run."""
        import trackio

        self._run = trackio.init(
            project, name=name, group=group, config=dict(config), embed=False, auto_log_gpu=False, auto_log_cpu=False
        )

    def log(self, step: int, values: Values) -> None:
        """Add points."""
        self._run.log(dict(values), step=step)

    def finish(self, scores: Values | None) -> None:
        """End the run."""
        if scores is not None:
            self._run.log(dict(scores))
        self._run.finish()


class Wandb:
    """https://docs.wandb.ai: where its own variables say (WANDB_MODE, WANDB_DIR, WANDB_ENTITY, ...)."""

    def __init__(self, name: str, group: str, project: str, config: Mapping[str, Any], folder: str) -> None:  # noqa: ARG002
        """Begin a run."""
        import wandb

        self._run = wandb.init(project=project, name=name, group=group, config=dict(config))
        # Trainings of one search begin at step 0 each, and wandb's own steps may only rise.
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, values: Values) -> None:
        """Add points."""
        self._run.log({"step": step, **values})

    def finish(self, scores: Values | None) -> None:
        """End the run."""
        self._run.summary.update(dict(scores or {}))
        self._run.finish(exit_code=int(scores is None))


class TensorBoard:
    """https://www.tensorflow.org/tensorboard: event files, a folder a run; written without TensorFlow and torch."""

    def __init__(self, name: str, group: str, project: str, config: Mapping[str, Any], folder: str) -> None:  # noqa: ARG002
        """Begin a run; what an earlier one of this folder left of its curves is not shown any more."""
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.plugins.hparams import summary_v2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, self._summary, self._last = event_pb2, summary_pb2.Summary, 0
        self._writer = EventFileWriter(folder)
        begun = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(session_log=begun)
        plain = {
            key: value if isinstance(value, str | float | int) else json.dumps(value) for key, value in config.items()
        }
        self._add(summary=summary_v2.hparams_pb(plain))

    def _add(self, step: int = 0, **what: Any) -> None:
        self._writer.add_event(self._event.Event(wall_time=time.time(), step=step, **what))

    def log(self, step: int, values: Values) -> None:
        """Add points."""
        self._last = max(self._last, step)
        shown = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(step, summary=self._summary(value=shown))

    def finish(self, scores: Values | None) -> None:
        """End the run."""
        if scores is not None:
            self.log(self._last, scores)
        self._writer.close()


BY_NAME: Mapping[str, Callable[..., Tracked]] = {"trackio": Trackio, "wandb": Wandb, "tensorboard": TensorBoard}


def follow(messages: Iterable[str], begin: Callable[..., Tracked], fail: Callable[[str], object]) -> None:
    """Tell a tracker of runs.

    Args:
        messages: JSON lists: ["start", {...}], ["log", step, values], ["finish", scores]. A run that ends without
            "finish" has no scores.
        begin: begins a run.
        fail: told what the tracker raised, which is told no more of that run.
    """
    run: Tracked | None = None
    for what, *told in _closed(messages):
        try:
            if what == "start":
                run = begin(**told[0])
            elif run is not None:
                getattr(run, what)(*told)
        except (Exception, SystemExit) as error:  # noqa: BLE001  a tracker may raise anything
            run = None
            fail(f"{type(error).__name__}: {first_line(error)}")


def _closed(messages: Iterable[str]) -> Iterator[list[Any]]:
    """Give the messages, and a finish without scores where a run has none."""
    begun = False
    for message in itertools.chain(map(json.loads, messages), [["end"]]):
        if begun and message[0] in ("start", "end"):
            yield ["finish", None]
        begun = message[0] != "finish"
        if message[0] != "end":
            yield message


def main(name: str) -> None:
    """Follow what comes in with the tracker ``name``, which prints to nowhere and has nobody whom it could ask."""
    given, told = (os.fdopen(os.dup(number), mode, encoding="utf-8") for number, mode in ((0, "r"), (1, "w")))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    failures = itertools.count()

    def fail(words: str) -> None:
        if next(failures) == 0:
            with contextlib.suppress(OSError):  # nobody hears it any more
                print(words, file=told, flush=True)

    def warn(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if category is UserWarning:  # so trackio says what it could not do
            fail(first_line(UserWarning(message)))

    warnings.showwarning = warn
    messages: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(given, messages), daemon=True).start()
    follow(iter(messages.get, None), BY_NAME[name], fail)


def _listen(given: TextIO, messages: queue.SimpleQueue[str | None]) -> None:
    """Take in what comes at once: whoever writes it never waits for a tracker."""
    for line in given:
        messages.put(line)
    messages.put(None)


if __name__ == "__main__":
    main(sys.argv[1])
