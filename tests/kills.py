"""Commands that are killed again and again, and what must hold after each kill and at the end.

After each kill everything in the folder can be read and what was finished is still there; at the end the same command
ends well, the folder is what an unkilled command leaves, and there is nothing else in it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import itertools
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from mixer_bench.cli import app
from mixer_bench.executors import local
from mixer_bench.gate import baseline
from mixer_bench.models import origin
from mixer_bench.results import kept
from mixer_bench.results.store import Store, read_record
from mixer_bench.runs import cost
from mixer_bench.system import arrays
from mixer_bench.system.schema import read_file
from mixer_bench.training import search
from mixer_bench.training.checkpoint import Checkpoint
from tests.builders import set_flags
from tests.executors.workers import launching
from tests.forks import Started, forked

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "fcntl.flock")  # what Python tells of its work on files
DIGITS = ("run", "--task", "digits", "--limit", "24")
TRAINING = set_flags("steps=4", "warmup=1", "batch_size=8", "learning_rates=0.01,0.03")
MOST = 1 << 20  # bytes of an array
RECIPE = set_flags("epochs=1", "batch_size=4", "warmup_epochs=0.5", "precision=fp32")


@dataclass(frozen=True)
class Case:
    """A command, and what its folder holds before it."""

    name: str
    arguments: tuple[str, ...]
    prepare: Callable[[Path], object] = lambda _folder: None


def images(folder: Path) -> None:
    """Two classes that differ in hue, train and val, 64 px; beside the folder, so that all have the same."""
    if (folder.parent / "images").exists():
        return
    generator = np.random.default_rng(0)
    for split, number, index in itertools.product(("train", "val"), (0, 1), range(10)):
        image = generator.integers(0, 120, (64, 64, 3), dtype=np.uint8)
        image[..., 2 * number] += 120
        (folder.parent / "images" / split / "rb"[number]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder.parent / "images" / split / "rb"[number] / f"{index}.png")


def records(folder: Path, *names: str) -> None:
    """Results folders of those names, of different runs."""
    for shots, name in enumerate(names, 1):
        arguments = (*DIGITS, "--model", "pixels", "--protocol", "fewshot", "--shots", str(shots), "--seeds", "4")
        done = forked(folder / "cache", *arguments, "--output-dir", name)
        assert done.code == 0, done.said


CASES = (
    Case("few-shot", (*DIGITS, "--model", "pixels", "--protocol", "fewshot", "--shots", "1,5", "--seeds", "4")),
    Case("extraction", (*DIGITS, "--model", "resnet_nano,pixels", "--protocol", "knn", "--batch-size", "8")),
    Case("fine-tuning", (*DIGITS, "--model", "resnet_nano", "--protocol", "finetune", "--seeds", "1", *TRAINING)),
    Case("pre-training", ("pretrain", "resnet_nano", "--data", "../images", "--threads", "1", *RECIPE), images),
    Case("merge", ("merge", "merged", "first", "second"), lambda folder: records(folder, "first", "second")),
    Case("check --update", ("check", "baseline.json", "--update"), lambda folder: records(folder, "results")),
)


# --- what a folder holds


def _notes_of(place: Path) -> Any:
    return read_file(place, search.Tried, "note", "").model_dump()


def _sound(place: Path) -> None:
    """Refuse a damaged checkpoint; what a sound one holds is seen in what comes of it."""
    assert Checkpoint(place, "")._state() is not None, f"{place} is damaged"


def _pretraining(place: Path) -> Any:
    return origin.read_pretraining(place).model_dump(exclude={"device_seconds"})


def _baseline(place: Path) -> Any:
    return [(answers.run, answers.value, np.asarray(answers.right).tobytes()) for answers in baseline.read(place)]


def _record(place: Path) -> Any:
    record = read_record(place)
    Store(place.parents[3]).predictions(record)
    if record.kept:
        kept.check(place.with_suffix(kept.SUFFIX), record.kept)
    return record.model_dump(include={"run", "metrics", "selection", "curve", "drawn", "notes"})


READERS: dict[str, Callable[[Path], Any]] = {
    "cache/features/*.npy": lambda place: arrays.load_rows(place)[0].tobytes(),
    "cache/digests/*.npz": lambda place: arrays.load(place, "digests", most=MOST)[0].tobytes(),
    "cache/finetune/*.json": _notes_of,
    "cache/flops/*.json": lambda place: read_file(place, cost.Counted, "count", "").model_dump(),
    "*.state.pt": _sound,
    "pretraining/*.safetensors": Path.read_bytes,
    "pretraining/*.json": _pretraining,
    "baseline.json": _baseline,
    "*/runs/*.npz": lambda place: [a.tobytes() for a in arrays.load(place, "label", "prediction", "score", most=MOST)],
    "*/runs/*.safetensors": Path.read_bytes,
    "*/runs/*.json": _record,
}


def content(folder: Path) -> dict[str, Any]:
    """Read every file but hidden ones, and return by place what an unkilled command would have left as well.

    Raises:
        Exception: something is half or damaged, or no file that a command should leave.
    """
    places = [place for place in folder.rglob("[!.]*") if place.is_file() and not place.name.startswith("said-")]
    names = {place.relative_to(folder).as_posix(): place for place in places}
    readers = {name: [read for like, read in READERS.items() if fnmatch.fnmatch(name, like)] for name in names}
    return {name: readers[name][0](place) for name, place in names.items()}


def hidden(folder: Path) -> list[str]:
    return [str(place.relative_to(folder)) for place in folder.rglob(".*")]


# --- killing


def dies(at: int | None, counted: str) -> None:
    """In the fork: be killed at that event; note how many there are. A training has a checkpoint after each step."""
    from mixer_bench.training import loop

    loop.LONGEST = 0.0
    handle, here, count = os.open(counted, os.O_WRONLY | os.O_CREAT), str(Path.cwd()), 0

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in EVENTS:
            place = str(arguments[0])
            if event == "fcntl.flock" or place.startswith(here) or not place.startswith("/"):
                count += 1
                os.pwrite(handle, str(count).encode(), 0)
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(heard)


class Campaign:
    """One command, killed in a folder until it is done, and in the next one, and so on."""

    def __init__(self, case: Case, scratch: Path, random_numbers: random.Random) -> None:
        self.case, self.scratch, self.random = case, scratch, random_numbers
        self.kills, self.ends, self.numbers = 0, 0, itertools.count()
        (scratch / case.name).mkdir()
        case.prepare(scratch / case.name)
        self.folder = self._folder()
        forked(scratch / "cache", "list", "tasks")  # the first fork waits until everything is loaded
        self.seconds = -time.monotonic()
        done = self._start(None).done()
        self.seconds += time.monotonic()
        assert done.code == 0, done.said
        self.events = int(self._counted().read_text())
        self.whole = content(self.folder)
        assert hidden(self.folder) == []
        self.begin()

    def begin(self) -> None:
        """Begin in a new folder."""
        shutil.rmtree(self.folder)
        self.folder = self._folder()
        self.before = content(self.folder)

    def kill(self, by_clock: bool) -> None:
        """Kill once, at a random event or moment; where the command was done before, see that all is there."""
        started = self._start(None if by_clock else self.random.randint(1, self.events))
        if by_clock:
            started.process.join(self.random.uniform(0, self.seconds))
            started.process.kill()
        done = started.done()
        if done.code == -signal.SIGKILL:
            self.kills += 1
            self._nothing_is_half_or_lost()
        else:
            self._ended(done.code, done.said)

    def end(self) -> None:
        """Let the command end, and see that all is there."""
        self._ended(*self._start(None).done())

    def _ended(self, code: int, said: str) -> None:
        assert (code, "Traceback" in said) == (0, False), said
        now = content(self.folder)
        assert now == self.whole, sorted(now.keys() ^ self.whole.keys())
        assert hidden(self.folder) == []
        self.ends += 1
        self.begin()

    def _nothing_is_half_or_lost(self) -> None:
        now = content(self.folder)
        lost = {name for name, value in self.before.items() if now.get(name) != value and ".state" not in name}
        assert not lost, lost
        self.before = now

    def _start(self, at: int | None) -> Started:
        prepare = functools.partial(dies, at, str(self._counted()))
        return Started(self.folder / "cache", *self.case.arguments, prepare=prepare)

    def _counted(self) -> Path:
        return self.scratch / f"{self.case.name}.counted"

    def _folder(self) -> Path:
        folder = self.scratch / f"{self.case.name} {next(self.numbers)}"
        shutil.copytree(self.scratch / self.case.name, folder)
        return folder


CREW = ("run", "--task", "embedded", "--limit", "24", "--model", "resnet_nano", "--protocol", "knn,finetune")
CREW += ("--seeds", "1", *TRAINING, "--jobs", "2")


class Crew:
    """A command of two processes, one of which is killed: that is named, the others go on, and nothing is lost."""

    name = "a process of two"

    def __init__(self, scratch: Path, random_numbers: random.Random) -> None:
        self.scratch, self.random, self.numbers = scratch, random_numbers, itertools.count()
        self.kills = self.ends = 0
        self.counted = scratch / "crew.counted"
        code, _ = self._run(self._begun(), None)
        assert code == 0
        self.events = int(self.counted.read_text())
        self.whole = content(self.folder)
        self._begun()

    def kill(self) -> None:
        """Kill one at a random access to a file; the same command goes on until it is done."""
        before = content(self.folder)
        code, killed = self._run(self.folder, self.random.randint(1, self.events))
        now = content(self.folder)
        lost = {name for name, value in before.items() if now.get(name) != value and ".state" not in name}
        assert not lost, lost
        assert (code, killed) in ((0, False), (1, True)), (code, killed)
        self.kills += killed
        if not killed:
            self.end()

    def end(self) -> None:
        """Let the command end, and see that all is there."""
        code, _ = self._run(self.folder, None)
        assert code == 0
        assert content(self.folder) == self.whole
        assert hidden(self.folder) == []
        self.ends += 1
        self._begun()

    def _begun(self) -> Path:
        """Begin in a new folder."""
        self.folder = self.scratch / f"crew {next(self.numbers)}"
        self.folder.mkdir()
        return self.folder

    def _run(self, folder: Path, at: int | None) -> tuple[int, bool]:
        """Run the command; return its exit code, and whether one of its processes was killed."""
        launch, begun = launching(functools.partial(dies, at, str(self.counted)))
        with (
            contextlib.chdir(folder),
            mock.patch.dict(os.environ, {"MIXER_BENCH_CACHE": str(folder / "cache")}),
            mock.patch.dict(cost._COUNTED, clear=True),  # as in a process of its own
            mock.patch.object(local, "launch", launch),
        ):
            code = app.main(list(CREW))
        return code, any(process.wait() == -signal.SIGKILL for process in begun)
