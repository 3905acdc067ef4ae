"""What can go wrong by a user's doing, each with the exit code the command line ends with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LISTED = 12  # known names that an error shows


class MixerBenchError(Exception):
    """An error whose message names the thing, the place and the way out; never shown with a traceback."""

    exit_code = 1


class ResultsError(MixerBenchError):
    """The results folder cannot be read or written."""


class UsageError(MixerBenchError):
    """The command or a declaration asks for something that does not exist or does not fit."""

    exit_code = 2


class ProcessesError(MixerBenchError):
    """Another of the processes that train together has ended, or cannot be reached any more."""


class DataError(MixerBenchError):
    """Images, labels or split lists are missing or unusable."""

    exit_code = 3


class Absent(MixerBenchError):
    """A source of a task is not on this machine, or not to be had: the next one may be."""

    exit_code = 3


class WeightsError(MixerBenchError):
    """A checkpoint is missing, damaged, or belongs to another network."""

    exit_code = 3


def unknown(kind: str, name: str, choices: Iterable[str]) -> UsageError:
    """Return the error for a name that is not known, with the nearest known ones."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    some = ", ".join(known[:LISTED]) + (f" and {len(known) - LISTED} more" if len(known) > LISTED else "")
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {some}"
    return UsageError(f"unknown {kind} {name!r}; {hint}")
