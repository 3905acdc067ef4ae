"""Runs that are shown in a tracker: what it is told, and that nothing it does is noticed by what is measured."""

import contextlib
import importlib.util
import json
import os
import socket
import sqlite3
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mixer_bench.cli import app
from mixer_bench.errors import UsageError
from mixer_bench.executors import Cell
from mixer_bench.results.store import Store
from mixer_bench.runs import tracking
from mixer_bench.runs.options import Options
from mixer_bench.runs.plan import Planned, State
from mixer_bench.runs.trackers import follow
from mixer_bench.runs.variants import Variant
from mixer_bench.system.progress import quiet
from mixer_bench.training.trainable import Point
from tests.builders import a_record, a_run, set_flags
from tests.executors.workers import PASSING

# trackio's own signatures (0.43). What happens at a call, if anything does, is of the environment.
STAND_IN = """
import json, os, time

def told(what, *values):
    print("* words on stdout")
    with open(os.environ["TOLD"], "a", encoding="utf-8") as file:
        file.write(json.dumps([what, *values]) + "\\n")
    at, _, code = os.environ.get("TROUBLE", "").partition(" ")
    if at == what:
        exec(code)

class Run:
    def log(self, metrics: dict, step: int | None = None):
        told("log", step, metrics)

    def finish(self):
        told("finish")

def init(project, name=None, group=None, space_id=None, server_url=None, dataset_id=None, bucket_id=None, config=None,
         resume="never", settings=None, private=None, embed=True, auto_log_gpu=None, gpu_log_interval=10.0,
         auto_log_cpu=None, cpu_log_interval=10.0, webhook_url=None, webhook_min_level=None):
    told("init", project, name, group, config, space_id)
    return Run()
"""


class StandIn(NamedTuple):
    file: Path

    def told(self) -> list[list[Any]]:
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A trackio that notes what it is told."""
    package = tmp_path / "site"
    package.mkdir()
    (package / "trackio.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(package)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [f"{package}", os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("TOLD", f"{tmp_path / 'told'}")
    return StandIn(tmp_path / "told")


def planned() -> Planned:
    run = a_run()
    return Planned(run, Variant(run.protocol, None, None, run.seed), State(None, None))  # type: ignore[arg-type]


COMMAND = ["run", "--task", "digits", "--limit", "20", "--model", "random:mixer_nano", "--protocol", "knn,finetune"]
COMMAND += ["--seeds", "1", "--device", "cpu", "--save-model", "--json"]
COMMAND += set_flags("steps=3", "warmup=1", "batch_size=4", "learning_rates=0.01,0.03")


def measured(folder: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> dict[str, tuple[Any, bytes]]:
    """What the command leaves: each record but for time and place, and its predictions; its network by its hash."""
    monkeypatch.setenv("MIXER_BENCH_CACHE", f"{folder / 'cache'}")
    assert app.main([*COMMAND, *flags, "--output-dir", f"{folder}"]) == 0
    store = Store(folder)
    return {
        record.run.protocol: (record.model_dump(exclude={*PASSING}), store.place(record.run, ".npz").read_bytes())
        for record in store.records()[0]
    }


def test_a_run_is_the_same_followed_or_not_or_by_what_fails(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = measured(tmp_path / "alone", monkeypatch)
    assert not stand_in.file.exists()
    monkeypatch.setenv("MIXER_BENCH_TRACK", "trackio")
    assert measured(tmp_path / "followed", monkeypatch) == alone
    told = stand_in.told()
    assert "--track" not in capsys.readouterr().err
    monkeypatch.setenv("TROUBLE", "log raise OSError('no space left')")
    assert measured(tmp_path / "failing", monkeypatch) == alone
    output = capsys.readouterr()
    assert json.loads(output.out)["finished"] == 2
    assert output.err.count("--track trackio: OSError: no space left; runs and records are not affected") == 1

    assert [what for what, *_ in told if what != "log"] == ["init", "finish"] * 2
    _, scored = told[:2]
    measure = alone["knn"][0]["metrics"]["top1"]
    scores = [scored[2][f"test/top1{end}"] for end in ("", "_low", "_high")]
    assert scores == [measure["value"], *measure["ci95"]]
    record = alone["finetune"][0]
    curves: dict[str, list[tuple[int, float]]] = {}
    for step, values in (values for what, *values in told[3:] if what == "log" and values[0] is not None):
        for name, value in values.items():
            curves.setdefault(name, []).append((step, value))
    assert tuple(curves["final/loss"]) == record["curve"]
    chosen = record["selection"]["chosen"]
    assert curves["final/rate"] == [(1, 0.0), (2, chosen), (3, pytest.approx(chosen / 2))], "cosine, warm after a step"
    on_val = [curves[f"search_{rate:g}/val_top1"] for rate in record["selection"]["grid"]]
    assert on_val == [[(3, score)] for score in record["selection"]["scores"]]


def test_a_tracker_is_told_what_tells_runs_apart_and_no_place_of_this_machine(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_PROJECT", "study")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "queue.py").write_text("raise SystemExit(5)")  # of another's folder, which nobody asked to run
    with tracking.following("trackio", Store(tmp_path), quiet(1)) as tracker:
        tracker.start(planned())
        tracker.finish(a_record())
    run = a_run()
    (_, project, name, group, config, space), *_ = stand_in.told()
    assert (project, group, space) == ("study", run.task, None)
    assert name == f"{run.task} {run.model} {run.protocol} {run.config['shots']}-shot seed {run.seed}"
    assert (config["key"], config["config.shots"]) == (run.key, run.config["shots"])
    assert f"{tmp_path}" not in json.dumps(config)


class Failing:
    """A tracker that notes what it is told and raises where it is to."""

    def __init__(self, told: list[Any], at: str, name: str) -> None:
        self.told, self.at = told, at
        self._do("start", name)

    def _do(self, *what: Any) -> None:
        self.told.append(what)
        if what[0] == self.at:
            raise SystemExit("no more")

    def log(self, step: int, values: Any) -> None:
        self._do("log", step, values)

    def finish(self, scores: Any) -> None:
        self._do("finish", scores)


MESSAGES = [["start", {"name": "a"}], ["log", 1, {}], ["start", {"name": "b"}], ["log", 1, {}], ["finish", {"x": 0.5}]]
MESSAGES += [["start", {"name": "c"}]]


@pytest.mark.parametrize(
    ("at", "told", "failures"),
    [
        ("", "start log finish start log finish start finish", 0),
        ("start", "start start start", 3),
        ("log", "start log start log start finish", 2),
        ("finish", "start log finish start log finish start finish", 3),
    ],
)
def test_a_run_of_the_tracker_that_fails_takes_no_other_with_it(at: str, told: str, failures: int) -> None:
    seen: list[Any] = []
    said: list[str] = []
    follow(map(json.dumps, MESSAGES), lambda **named: Failing(seen, at, **named), said.append)
    assert " ".join(what for what, *_ in seen) == told
    assert said == ["SystemExit: no more"] * failures
    if not at:
        ends = [values for what, *values in seen if what == "finish"]
        assert ends == [[None], [{"x": 0.5}], [None]], "who does not finish has no scores"


@pytest.mark.parametrize(
    ("trouble", "note"),
    [
        ("init import os; os._exit(3)", "its process ended with exit code 3"),
        ("init input('key: ')", "EOFError: EOF when reading a line"),
        ("init import warnings; warnings.warn('not all was kept\\nsince ...')", "not all was kept"),
        ("log time.sleep(600)", "it did not end in 0.5 s and was stopped; what it had not sent may be lost"),
    ],
)
def test_a_tracker_that_ends_asks_warns_or_hangs_is_said_once(
    trouble: str, note: str, stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 0.5)
    monkeypatch.setenv("TROUBLE", trouble)
    if "sleep" not in trouble:
        monkeypatch.setattr(tracking, "PATIENCE", 60.0)
    with tracking.following("trackio", Store(tmp_path), quiet(1)) as tracker:
        for step in range(3):
            tracker.start(planned())
            tracker.log([Point("final", step, {"loss": 0.1})])
    assert [record.getMessage() for record in caplog.records] == [
        f"--track trackio: {note}; runs and records are not affected"
    ]
    with pytest.raises(ChildProcessError):
        os.waitpid(tracker._process.pid, os.WNOHANG)  # type: ignore[attr-defined]


@pytest.mark.posix
def test_what_a_tracker_leaves_running_is_not_waited_for(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "HURRY", 0.1)
    monkeypatch.setenv("LATER", f"{tmp_path / 'later'}")
    monkeypatch.setenv("TROUBLE", "init os.fork() or (open(os.environ['LATER']).read(), os._exit(0))")
    os.mkfifo(tmp_path / "later")
    with tracking.following("trackio", Store(tmp_path), quiet(1)) as tracker:
        tracker.start(planned())
    assert caplog.records == []
    assert [what for what, *_ in stand_in.told()] == ["init", "finish"]
    (tmp_path / "later").write_text("")  # only now it ends


def test_a_run_that_is_broken_off_ends_in_the_tracker_without_scores(stand_in: StandIn, tmp_path: Path) -> None:
    points = [Point("final", step, {"loss": 0.1}) for step in (1, 2)]
    with pytest.raises(KeyboardInterrupt), tracking.following("trackio", Store(tmp_path), quiet(1)) as tracker:
        tracker.start(planned())
        tracker.log(points[:1])
        tracker.log(points)  # of a training that goes on
        raise KeyboardInterrupt
    assert [what for what, *_ in stand_in.told()] == ["init", "log", "log", "finish"]
    assert [values[0] for what, *values in stand_in.told() if what == "log"] == [1, 2]


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wandb" / "offline-run").mkdir(parents=True)  # as wandb leaves it: no package
    left = PathFinder.find_spec("wandb", [f"{tmp_path}"])
    assert left is not None
    assert left.origin is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: left if name == "wandb" else find_spec(name))
    assert app.main([*COMMAND, "--track", "wandb", "--output-dir", f"{tmp_path / 'results'}"]) == UsageError.exit_code
    assert "--track wandb: wandb is not installed: pip install 'mixer-bench[wandb]'" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_who_follows_a_cell_is_nothing_to_others_that_share_it() -> None:
    options = Options(task="digits", model="pixels", protocol="knn", track="tensorboard")
    followed, alone = (Cell(options=each, label="") for each in (options, options.model_copy(update={"track": None})))
    assert followed.claim == alone.claim
    assert Cell.model_validate_json(followed.model_dump_json()).options.track == "tensorboard"


# --- the real ones, where they are installed


def of_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (place,) = (folder / "tensorboard" / "colours" / "toy").iterdir()
    events = EventAccumulator(f"{place}").Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def of_trackio(folder: Path) -> dict[str, list[tuple[int, float]]]:
    curves: dict[str, list[tuple[int, float]]] = {}
    with contextlib.closing(sqlite3.connect(folder / "mixer-bench.db")) as database:
        for step, values in database.execute("SELECT step, metrics FROM metrics ORDER BY step"):
            for name, value in json.loads(values).items():
                curves.setdefault(name, []).append((step, value))
    return curves


def of_wandb(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Its file is its own; what it holds can be searched for names."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    text = file.read_bytes()
    host = socket.gethostname().encode()
    assert bytes([len(host)]) + host not in text, "as protobuf writes a string: two letters alone come by chance"
    return {name: shown for name, shown in SHOWN.items() if name.encode() in text}


CURVES = {"final/loss": [(1, 2.0), (2, 0.5)], "final/rate": [(1, 0.0), (2, 0.25)]}
SHOWN = CURVES | {"test/top1": [(2, 0.75)], "test/top1_low": [(2, 0.5)], "test/top1_high": [(2, 1.0)]}


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb"])
def test_the_real_tracker_shows_curves_and_scores(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install 'mixer-bench[{name}]'")
    monkeypatch.setenv("TRACKIO_DIR", f"{tmp_path}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # wandb then writes to the disk alone
    monkeypatch.setenv("WANDB_DIR", f"{tmp_path}")
    with tracking.following(name, Store(tmp_path), quiet(1)) as tracker:
        tracker.start(planned())
        tracker.log([Point("final", 1, {"loss": 2.0, "rate": 0.0}), Point("final", 2, {"loss": 0.5, "rate": 0.25})])
        tracker.finish(a_record(metrics={"top1": {"value": 0.75, "ci95": (0.5, 1.0)}}))
    assert caplog.records == []
    shown = {"tensorboard": of_tensorboard, "trackio": of_trackio, "wandb": of_wandb}[name](tmp_path)
    assert {curve: shown[curve] for curve in CURVES} == CURVES
    assert {score: shown[score][0][1] for score in SHOWN} == {score: points[0][1] for score, points in SHOWN.items()}
