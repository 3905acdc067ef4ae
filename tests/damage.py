"""Damage to every kind of file that the program reads: is any of it believed, and does anything but a refusal come?

    python -m tests.damage [--flips 2000] [--fuzzed 2000] [--seed 0] [KIND ...]

Two ways: one bit of a sound file is turned over, and a file is spoilt as tests/spoiling.py does. Each damaged file goes
through the functions that the commands call. What may come of it is a refusal in one line that names the file, or, of
what is kept to save time, that it is made anew. Where a checksum stands for the content, anything else than the content
is belief.

Each kind runs in a process of its own, which tells how much memory it took; the table is Markdown.
"""

from __future__ import annotations

import argparse
import collections
import os
import pickle
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

from mixer_bench.errors import MixerBenchError
from tests.spoiling import spoil

resource = pytest.importorskip("resource", reason="needs a POSIX system")

PATIENCE = 20.0  # seconds after which a file is said to hang the program


@dataclass(frozen=True)
class Kind:
    """A kind of file: a sound one, and how the program reads it."""

    name: str
    file: Path
    read: Callable[[], object]  # what the program makes of the file; None: it goes on without it
    checked: bool = False  # whether anything but the content, or None, is belief
    named: str = ""  # what a refusal must name, as a pattern; empty: the file


class Hang(BaseException):
    """A file was read for too long."""


# --- what comes of it


def judged(kind: Kind, expected: object) -> tuple[str, str]:
    """Return in a word what comes of reading the file, and what was said."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise Hang

    shown: list[str] = []
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", module="PIL")  # as the command line does
            warnings.showwarning = lambda message, *_: shown.append(str(message))  # type: ignore[assignment]
            value = kind.read()
    except MixerBenchError as error:
        said = str(error)
        listed = re.fullmatch(r"(.*: )?\d+ problems(\n  .*)*(\n.*)?", said) or "\n" not in said
        whole = re.search(kind.named or re.escape(kind.file.name), said) and listed
        return ("refused" if whole else "badly said"), said
    except Hang:
        return "hang", ""
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "traceback", "".join(traceback.format_exception(error, limit=-4))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if shown:
        return "warning", shown[0]
    other = "believed" if kind.checked else "another"
    return ("made anew" if value is None else "same" if value == expected else other), f"{value!r}"[:300]


BAD = ("believed", "badly said", "hang", "traceback", "warning")


def tried(kind: Kind, flips: int, fuzzed: int, seed: int) -> Iterator[tuple[str, str, str, str]]:
    """Damage a kind's file again and again; yield the way, how exactly, what came of it and what was said."""
    sound, expected = kind.file.read_bytes(), kind.read()
    chance = random.Random(f"{kind.name} {seed}")
    for number in range(flips + fuzzed):
        if kind.file.is_dir() and not kind.file.is_symlink():
            shutil.rmtree(kind.file)
        kind.file.unlink(missing_ok=True)
        way, how = "flips", ""
        if number < flips:
            place, bit = chance.randrange(len(sound)), chance.randrange(8)
            content = bytearray(sound)
            content[place] ^= 1 << bit
            kind.file.write_bytes(content)
            how = f"byte {place}, bit {bit}"
        else:
            way, how = "fuzzed", spoil(kind.file, sound, chance)
        outcome, said = judged(kind, expected)
        # Whoever writes a checksum for what he wrote has another valid file.
        yield way, how, "another" if (how, outcome) == ("retyped", "believed") else outcome, said


@dataclass
class Tally:
    """What came of a kind's damaged files."""

    counts: dict[str, collections.Counter[str]]  # by way
    bad: list[tuple[str, ...]]
    memory: int  # MB of the process that read them, at most
    gained: int  # of these, more than before the first

    @staticmethod
    def of(make: Callable[[Path], Kind], flips: int, fuzzed: int, seed: int, keep: Path | None = None) -> Tally:
        """Make a kind's sound file in a folder of its own, and try."""
        counts = {"flips": collections.Counter[str](), "fuzzed": collections.Counter[str]()}
        bad: list[tuple[str, ...]] = []
        with tempfile.TemporaryDirectory() as folder:
            kind = make(Path(folder))
            before = _memory()
            for way, how, outcome, said in tried(kind, flips, fuzzed, seed):
                counts[way][outcome] += 1
                if outcome in BAD:
                    bad.append((way, how, outcome, said.replace(folder, "")))
                    if keep and kind.file.is_file() and not kind.file.is_symlink():
                        shutil.copy(kind.file, keep / f"{kind.name.replace(' ', '_')}-{len(bad)}{kind.file.suffix}")
        return Tally(counts, bad, _memory(), _memory() - before)


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


OUTCOMES = ("refused", "made anew", "same", "another", *BAD)


def table(tallies: dict[str, Tally]) -> str:
    """Return the counts in Markdown, a row for each kind and way."""
    lines = [
        f"| kind of file | damage | {' | '.join(OUTCOMES)} | MB more |",
        "|---|---|" + "--:|" * (len(OUTCOMES) + 1),
    ]
    for name, tally in tallies.items():
        for way, counts in tally.counts.items():
            cells = " | ".join(str(counts[outcome] or "") for outcome in OUTCOMES)
            lines.append(f"| {name} | {way} | {cells} | {tally.gained} |")
    return "\n".join(lines)


def main() -> int:
    """Try the kinds that are named, or all; print what was bad, then the table."""
    os.environ["HF_HOME"] = tempfile.mkdtemp()
    from tests import damaged_inputs, damaged_results

    kinds = {**damaged_results.KINDS, **damaged_inputs.KINDS}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND")
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--fuzzed", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for copies of what was read badly")
    asked = parser.parse_args()
    tallies = {}
    for name in asked.kinds or kinds:
        tallies[name] = _in_a_process(kinds[name], asked)
        for line in tallies[name].bad[:12]:
            print(f"{name}: " + ": ".join(line)[:1500])
        print(table({name: tallies[name]}).splitlines()[2:], flush=True)
    print(table(tallies))
    shutil.rmtree(os.environ["HF_HOME"])
    return int(any(tally.bad for tally in tallies.values()))


def _in_a_process(make: Callable[[Path], Kind], asked: argparse.Namespace) -> Tally:
    """Return what came of a kind's files in a child of this process; one that a signal ends counts as a traceback."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            with os.fdopen(writing, "wb") as told:
                pickle.dump(Tally.of(make, asked.flips, asked.fuzzed, asked.seed, asked.keep), told)
        except BaseException:  # noqa: BLE001  this process must not go on as its parent
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as heard:
        content = heard.read()
    _, status = os.waitpid(child, 0)
    if status or not content:
        crash = ("fuzzed", "?", "traceback", f"the process ended with status {status}")
        return Tally({"fuzzed": collections.Counter(traceback=1)}, [crash], 0, 0)
    tally: Tally = pickle.loads(content)
    return tally


if __name__ == "__main__":
    sys.exit(main())
