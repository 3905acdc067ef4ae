"""The function that compares two models, or two protocols of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mixer_bench.api.results import Place, no_records, place, warn
from mixer_bench.errors import MixerBenchError, ResultsError, UsageError
from mixer_bench.results.store import Store
from mixer_bench.system.console import printable
from mixer_bench.system.schema import parts

if TYPE_CHECKING:
    from mixer_bench.compare.comparison import Outcome as Compared


def compare(
    model_a: str,
    model_b: str | None = None,
    results: Place | None = None,
    protocol: str | None = None,
    protocols: str | Sequence[str] | None = None,
) -> Compared:
    """Compare two models, or two protocols of one, paired by seed and example wherever both have records.

    Args:
        model_a: a model, as the records name it.
        model_b: the other; None: ``protocols`` of ``model_a`` are compared.
        results: results folder; None: MIXER_BENCH_RESULTS, else ``results``.
        protocol: only this protocol.
        protocols: two, text with a comma or a sequence.

    Returns:
        ``rows``, one a task and setting: shares ``a`` and ``b`` in [0, 1], the difference A - B with its interval, p,
        corrected over all rows, and the ``verdict``; ``overall``, one a setting over tasks; ``problems``, what could
        not be read.

    Raises:
        UsageError: an unknown model or protocol, or a name that stands for several variants.
        ResultsError: nothing that both have, or it may lie in a file that is damaged.
    """
    from mixer_bench.compare import comparison

    store = Store(place(results))
    records, problems = store.records()
    warn(problems, word="error")  # first: a model may be unknown because its files are damaged
    try:
        if not records:
            raise no_records(store.folder)
        if model_b is not None and protocols is None:
            compared = comparison.compare(records, store, model_a, model_b, protocol)
        elif model_b is None and protocols is not None and protocol is None:
            asked = parts(protocols)
            compared = comparison.compare_protocols(records, store, model_a, asked, _unseeded(asked))
        else:
            raise UsageError("name two models, or one and --protocols with two of its protocols")
    except MixerBenchError as error:
        kind = ResultsError if problems else type(error)
        raise kind(printable(str(error))) from None
    warn(compared.problems, word="error")
    return dataclasses.replace(compared, problems=(*problems, *compared.problems))


def _unseeded(asked: Sequence[str]) -> list[str]:
    """Return those protocols that draw nothing; of one that is not here that is not known."""
    from mixer_bench import protocols

    return [name for name in asked if name in protocols.names() and not protocols.get(name).seeded]
