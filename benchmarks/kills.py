"""Kill -9 at random moments, over every command that writes: nothing half, nothing lost, nothing left behind.

    python benchmarks/kills.py [--kills 1000] [--seed 0]

Half of the kills come by the clock, half at a random access to files. After each, everything in the folder is read and
compared with before; the same command goes on until it is killed again or done, and what it leaves then is compared
with what an unkilled one leaves. What a kill is and what is compared stands in tests/kills.py.
"""

from __future__ import annotations

import argparse
import datetime
import os
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tabulate import tabulate

from mixer_bench.system import machine
from tests import kills


def of_two(scratch: Path, count: int, seed: int) -> tuple[tuple[object, ...], list[str]]:
    """Kill one of two processes so many times; return what to print, and what did not hold."""
    crew, problems = kills.Crew(scratch, random.Random(seed)), []
    while crew.kills < count:
        try:
            crew.kill()
        except AssertionError as error:
            problems.append(f"{crew.name}, kill {crew.kills}: {error}")
            print(problems[-1], file=sys.stderr, flush=True)
            crew.kills += 1
    crew.end()
    return (crew.name, crew.kills, crew.ends, crew.events, len(problems)), problems


def kill(campaign: kills.Campaign, count: int) -> list[str]:
    """Kill a command so many times; return what did not hold."""
    problems = []
    while campaign.kills < count:
        try:
            campaign.kill(by_clock=campaign.kills % 2 == 0)
        except Exception as error:  # noqa: BLE001  whatever it is, it is what this is here to find
            problems.append(f"{campaign.case.name}, kill {campaign.kills}: {type(error).__name__}: {error}")
            print(problems[-1], file=sys.stderr, flush=True)
            campaign.begin()
    campaign.end()
    return problems


def main() -> None:
    """Kill them all and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, help="of all commands together")
    parser.add_argument("--of-two", type=int, default=20, help="of a process of two that share the work")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows, problems, start = [], [], time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        for number, case in enumerate(kills.CASES if options.kills else ()):
            count = options.kills // len(kills.CASES) + (number < options.kills % len(kills.CASES))
            campaign = kills.Campaign(case, Path(scratch), random.Random(f"{case.name} {options.seed}"))
            wrong = kill(campaign, count)
            rows.append((case.name, campaign.kills, campaign.ends, campaign.events, len(wrong)))
            problems += wrong
            print(rows[-1], file=sys.stderr, flush=True)
        row, wrong = of_two(Path(scratch), options.of_two, options.seed)
        rows.append(row)
        problems += wrong
    day, minutes = datetime.datetime.now(datetime.UTC).date().isoformat(), (time.monotonic() - start) / 60
    print(f"{day}, {machine.processor()}, {minutes:.0f} minutes, seed {options.seed}\n")
    headings = ("command", "kills", "ended, equal to an unkilled one", "accesses to files in one", "did not hold")
    print(tabulate(rows, headings, tablefmt="pipe"))
    print(*problems, sep="\n")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
