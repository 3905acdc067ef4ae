"""What became of what was asked for: of a command, of a part of it, or of several parts together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixer_bench.errors import MixerBenchError
from mixer_bench.results import made
from mixer_bench.results.made import Made
from mixer_bench.results.store import Store, read_record
from mixer_bench.runs.plan import Plan
from mixer_bench.system.schema import Count, Frozen

Texts = tuple[str, ...]


@dataclass
class Outcome:
    """What became of a plan."""

    plan: Plan
    finished: int = 0
    elsewhere: int = 0  # runs that another process finished meanwhile
    failed: list[Path] = field(default_factory=list)  # files of the runs that failed now
    unusable: list[MixerBenchError] = field(default_factory=list)  # data or weights, as it turned out
    images: int = 0
    trained: int = 0  # images that were trained on

    @property
    def unavailable(self) -> list[MixerBenchError]:
        """An error for each task or model that could not be had or used."""
        return [*self.plan.unavailable, *self.unusable]

    @property
    def exit_code(self) -> int:
        """0 all asked for is there, 1 a run failed now or before, 3 data or weights are missing."""
        failed = self.failed or self.plan.kept_failures
        return max((error.exit_code for error in self.unavailable), default=1 if failed else 0)


class Summary(Frozen):
    """Counts of runs and images, and the names of what went wrong."""

    asked: Count = 0
    missing: Count = 0  # to do
    finished: Count = 0
    finished_elsewhere: Count = 0
    failed: Texts = ()  # files
    kept_failures: Count = 0
    unavailable: Texts = ()  # an error for each task or model that could not be had or used
    unusable: Texts = ()  # those that were noticed at work
    errors: Texts = ()  # of parts that came to no end
    images: Count = 0
    trained_images: Count = 0
    other_code: Count = 0  # runs that were there, and were made by other code
    keys: Texts = ()
    records: Texts = ()  # files, of all that was asked for
    exit_code: Count = 0

    @staticmethod
    def of(outcome: Outcome, store: Store) -> Summary:
        """Return what became of a plan."""
        todo = outcome.plan
        return Summary(
            asked=len(todo.asked),
            missing=todo.missing,
            finished=outcome.finished,
            finished_elsewhere=outcome.elsewhere,
            failed=tuple(map(str, outcome.failed)),
            kept_failures=todo.kept_failures,
            unavailable=tuple(map(str, outcome.unavailable)),
            unusable=tuple(map(str, outcome.unusable)),
            images=outcome.images,
            trained_images=outcome.trained,
            other_code=_of_other_code(todo, store),
            keys=tuple(run.key for run in todo.asked),
            records=tuple(str(store.place(run, ".json")) for run in todo.asked),
            exit_code=outcome.exit_code,
        )

    @staticmethod
    def together(parts: Iterable[Summary]) -> Summary:
        """Add up what became of parts; an error that several have is told once."""
        all_parts = [part.model_dump() for part in parts]
        values: dict[str, Any] = {}
        for name, declared in Summary.model_fields.items():
            if name == "exit_code":
                values[name] = max((part[name] for part in all_parts), default=0)
            elif declared.default == ():
                texts = [text for part in all_parts for text in part[name]]
                values[name] = tuple(dict.fromkeys(texts) if name in ("unavailable", "unusable", "errors") else texts)
            else:
                values[name] = sum(part[name] for part in all_parts)
        return Summary(**values)

    def told(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        of_people = {"missing", "kept_failures", "unusable", "other_code", "records"}
        return self.model_dump(mode="json", exclude=of_people)

    def words(self) -> Iterator[str]:
        """Say what was done."""
        seen = [f"{self.images:,} images through a network"] if self.images or not self.trained_images else []
        seen += [f"{self.trained_images:,} images trained on"] if self.trained_images else []
        left = self.missing - self.finished - self.finished_elsewhere - len(self.failed)
        elsewhere = f", {self.finished_elsewhere} by another process" if self.finished_elsewhere else ""
        not_done = f", {left} not done" if left > 0 else ""
        yield f"{self.finished} runs done{elsewhere}, {len(self.failed)} failed{not_done}; {', '.join(seen)}"
        for error in (*self.unusable, *self.errors):
            yield f"error: {error}"
        for file in self.failed:
            yield f"failed: {file}"


def _of_other_code(todo: Plan, store: Store) -> int:
    """Count the runs that stay as they are though other code made them."""
    done = {id(planned.run) for group in todo.groups for planned in group.runs}
    kept = [store.place(run, ".json") for run in todo.asked if id(run) not in done and store.has(run)]
    records = map(read_record, kept)
    return sum(bool(made.other_code(Made.of(record), record.run.protocol)) for record in records)
