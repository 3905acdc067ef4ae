"""The search for a learning rate on val: which rates are trained how far, and which is taken.

What is known of a rate is noted beside its training's checkpoint, so that a search that another run of the same
settings made, or one that was broken off, is not made again; of several runs at once that search alike each tries some.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

from pydantic import Field

from mixer_bench.results.record import Selection
from mixer_bench.system import claims, schema
from mixer_bench.system.schema import Sealed
from mixer_bench.training import distributed
from mixer_bench.training.checkpoint import Diverged
from mixer_bench.training.settings import Config

LOG = logging.getLogger(__name__)


class Tried(Sealed):
    """What became of one rate, at the end of its training or where it was stopped."""

    score: Annotated[float, Field(ge=0, le=1)] | None  # on val; None: diverged
    said: str = ""


class Trial(Protocol):
    """The training of one rate, up to a step."""

    @property
    def note(self) -> Path:
        """The place of what became of it."""
        ...

    def tried(self) -> Tried:
        """Train, from the last checkpoint on, and score on val."""
        ...

    def known(self) -> None:
        """Report that it need not be made."""
        ...

    def forget(self) -> None:
        """Remove the checkpoint."""
        ...


class Searched(NamedTuple):
    """What a search came to."""

    selection: Selection
    notes: list[str]
    images: int  # trained on here and now


def search(config: Config, trial: Callable[[float, int, int], Trial], examples: int) -> Searched:
    """Try the rates of ``config``, rung after rung, and choose one.

    Args:
        config: of the whole training.
        trial: a rate, the step it has been tried at before, the step up to which it is tried -> its training.
        examples: how many val holds.

    Raises:
        Diverged: the training diverged at every rate.
    """
    grid = tuple(sorted(config.learning_rates))
    last, rates, before, images = dict[float, Tried](), list(grid), 0, 0
    said = list[str]()
    for count, end in config.rungs:
        if last:
            sound = [rate for rate in rates if last[rate].score is not None]
            rates = sorted(sorted(sound, key=lambda rate: -(last[rate].score or 0.0))[:count])
        for rate in {*grid} - {*rates}:
            trial(rate, 0, before).forget()
        tried, fresh = _all_tried({rate: trial(rate, before, end) for rate in rates}, end == config.rungs[-1][1])
        last |= tried
        images += fresh * (end - before) * config.batch_size
        said.append(f"{', '.join(f'{rate:g}' for rate in rates) or 'none'} up to step {end}")
        before = end
    notes = [tried.said for _, tried in sorted(last.items()) if tried.said]
    if all(last[rate].score is None for rate in rates):
        raise Diverged("the training diverged at every rate: " + "; ".join(notes))
    # Only those that got furthest are compared: their scores are of the same step.
    compared = [last[rate].score if rate in rates else None for rate in grid]
    selection = Selection.best("learning rate", grid, compared, examples)
    if config.search == "halving":
        notes.append(f"rates were halved, by their scores so far: {'; '.join(said)}")
        selection = selection.model_copy(update={"scores": tuple(last[rate].score for rate in grid)})
    return Searched(selection, notes, images)


def _all_tried(trials: dict[float, Trial], for_good: bool) -> tuple[dict[float, Tried], int]:
    """Return what became of each rate, and how many were tried here and now; ``for_good``: none goes on after it."""
    rates, made, tried = list(trials), 0, dict[float, Tried]()

    def waiting(numbers: Sequence[int]) -> None:
        LOG.info("waiting for another process that tries rate %s", ", ".join(f"{rates[n]:g}" for n in numbers))

    turns = claims.turns([trial.note for trial in trials.values()], waiting)
    with contextlib.closing(distributed.led(turns)) as led:
        for number in led:
            trial = trials[rates[number]]
            noted = distributed.the_firsts(schema.noted(trial.note, Tried))
            if noted:
                trial.known()
            else:
                noted = _judged(trial, rates[number])
                made += 1
            tried[rates[number]] = noted
            if for_good:  # of what is known, too: who noted it may have been killed before that
                trial.forget()
    return tried, made


def _judged(trial: Trial, rate: float) -> Tried:
    """Train, score on val, and note what became of it."""
    try:
        tried = trial.tried()
    except Diverged as error:
        tried = Tried(score=None, said=f"learning rate {rate:g} diverged: {error}")
    distributed.vote()
    if distributed.world().leads:
        schema.note(trial.note, tried)
    distributed.vote()
    return tried
