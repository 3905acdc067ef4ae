"""What numbers were made with, and when: code, versions, machine, day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mixer_bench.results.record import Record
from mixer_bench.system import code
from mixer_bench.system.schema import Frozen
from mixer_bench.system.shared import shared

# Fields of an environment that are always told; others where they differ.
TOLD = {"python": "Python", "torch": "torch", "timm": "timm", "pillow": "Pillow", "device": "device"}
BY_NAME = ("mixer-bench", "commit")


class Made(Frozen):
    """What one number was made with, features included."""

    code: dict[str, str]  # digest of each concern
    environment: dict[str, str]
    extraction_environment: dict[str, str] | None = None  # where the features come from, if from elsewhere
    day: str  # ISO 8601, UTC

    @staticmethod
    def of(record: Record) -> Made:
        """Return what a record was made with."""
        made = Made(
            code=record.code,
            environment=record.environment,
            extraction_environment=record.extraction_environment,
            day=record.created[:10],
        )
        return shared(made)


def values(made: Iterable[Made]) -> dict[str, list[str]]:
    """Return all values of each field of the environments, features' included, sorted."""
    by_name: dict[str, set[str]] = {}
    for each in made:
        for environment in (each.environment, each.extraction_environment or {}):
            for name, value in environment.items():
                by_name.setdefault(name, set()).add(value)
    return {name: sorted(several) for name, several in by_name.items()}


def words(made: Sequence[Made], other_code: Sequence[str]) -> str:
    """Say in a line by what numbers were made, and in which concerns by other code than is installed."""
    known, days = values(made), sorted({each.day for each in made})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    commit = f" at {_joined(known, 'commit')}" if "commit" in known else ""
    program = f"mixer-bench {_joined(known, 'mixer-bench')}{commit}"
    others = f"other code than is installed ({', '.join(other_code)})"
    codes = others if other_code else "the code that is installed"
    versions = [f"{name} {_joined(known, key)}" for key, name in TOLD.items() if key in known]
    return ", ".join([f"made {when} by {program}, {codes}", *versions])


def differing(before: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the fields that both sides have and that ``words`` does not tell, where they differ, with both values."""
    names = [name for name in before if name in now and name not in {*TOLD, *BY_NAME} and before[name] != now[name]]
    return [f"{name} {_joined(before, name)} -> {_joined(now, name)}" for name in names]


def other_code(made: Made, protocol: str) -> list[str]:
    """Return the concerns in which a number of ``protocol`` was made by other code than is installed."""
    return code.differing(made.code, protocol)


def _joined(known: Mapping[str, Sequence[str]], name: str) -> str:
    return " and ".join(known.get(name, ["unknown"]))
