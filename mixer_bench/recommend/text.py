"""A recommendation to words, for a terminal. Pure; prints nothing."""

from __future__ import annotations

from collections.abc import Iterator

from rich.padding import Padding
from rich.text import Text

from mixer_bench.recommend.values import Candidate, Labels, Recommendation
from mixer_bench.results.record import Measured
from mixer_bench.stats import metrics
from mixer_bench.system import console as terminal
from mixer_bench.system.grouping import grouped
from mixer_bench.system.progress import duration

HEADINGS = ("model", "", "out of fold %", "images", "ahead", "test %", "ms", "MB")
WORDS = {"winner": "winner", "tied": "not told apart", "behind": "behind"}
STYLES = {"winner": "bold green", "tied": "green"}
FEW_TESTED = 100  # test images, below which an interval is all that can be said
SHOWN = 6  # models that are named of many
SURE = 0.05


def text(told: Recommendation, colour: bool = False) -> str:
    """Return the verdict in words, and below it the table that it stands on.

    Args:
        told: what was found.
        colour: whether what is returned may steer a terminal, to have colours.
    """
    console = terminal.console(colour)
    for line in _verdict(told):
        console.print(Padding(Text(terminal.printable(line)), (0, 0, 1, 0)))
    compared = [each for each in told.candidates if each.score is not None]
    terminal.show(console, HEADINGS, map(_cells, compared), HEADINGS[:2])
    terminal.notes(console, [*_notes(told)], max(terminal.NOTES, len(compared)), "recommend --json")
    return terminal.captured(console)


def _verdict(told: Recommendation) -> Iterator[str]:
    winner = told.winner
    latency = f", {winner.latency_ms:.3g} ms an image" if winner.latency_ms is not None else ", without a network"
    limits = [f"at most {told.latency_ms:g} ms"] if told.latency_ms else []
    limits += [f"at most {told.memory / 1e6:,.0f} MB"] if told.memory else []
    accuracy = _measured(winner.accuracy) if winner.accuracy else "not measured on test"
    yield (
        f"Take {winner.model}{' (of those of ' + ' and '.join(limits) + ')' if limits else ''}: "
        f"{metrics.words(told.metric)} {accuracy} on {_tested(told):,} test images{latency} ({told.device}, "
        f"{told.precision})."
    )
    yield _others(told)
    yield _labels(told.labels, winner, "all" if told.limit is None else "those looked at")
    yield _tuning(told)
    yield _suspected(told)


def _tested(told: Recommendation) -> int:
    return min(told.test, told.limit or told.test)


def _measured(value: Measured) -> str:
    low, high = (100 * end for end in value.ci95)
    return f"{100 * value.value:.1f} % (95 % interval {low:.1f} to {high:.1f})"


def _others(told: Recommendation) -> str:
    """Return who may be as good, and whether one of them is faster."""
    tied = told.tied
    behind = sum(each.state == "behind" for each in told.candidates)
    beaten = f"It beats {'the other one' if behind == 1 else f'{behind} others'} by more than chance." if behind else ""
    if not tied:
        return beaten or "There was nothing to compare it with."
    named = ", ".join(each.model for each in tied[:SHOWN]) + (f" and {len(tied) - SHOWN} more" * (len(tied) > SHOWN))
    words = f"Not told apart from it: {named}"
    latency = told.winner.latency_ms
    faster = [each for each in tied if latency and each.latency_ms and each.latency_ms < latency / 1.5]
    if faster:
        fastest = min(faster, key=lambda each: each.latency_ms or 0.0)
        words += f"; {fastest.model} takes {fastest.latency_ms:.3g} ms an image"
    return f"{words}. {beaten}".rstrip()


def _labels(labels: Labels, winner: Candidate, every: str) -> str:
    """Return what fewer labels gave, and what more would."""
    each = f"{labels.fewest}" if labels.fewest == labels.most else f"{labels.fewest} to {labels.most}"
    shots = ", ".join(f"{100 * value:.1f} % with {count}" for count, value in labels.shots)
    words = f"Labels: {shots} a class (few-shot probe)" if shots else "Labels:"
    if winner.accuracy:
        words += f"{', ' * bool(shots)}{100 * winner.accuracy.value:.1f} % with {every}, {each} a class"
    if labels.gain is None or labels.gain_half is None:
        return f"{words}. What {labels.more} more would bring was not looked at: too few images or too little time."
    low, high = (100 * (labels.gain + sign * labels.gain_half) for sign in (-1, 1))
    gain = f"about {100 * labels.gain:+.1f} points ({low:+.1f} to {high:+.1f}; extrapolated)"
    return f"{words}. {labels.more} more labels a class: {gain}."


def _tuning(told: Recommendation) -> str:
    """Return what fine-tuning brought, or how long it would take."""
    words = []
    for each in told.candidates:
        if (tuned := each.tuned) is None:
            continue
        if tuned.accuracy is None or tuned.gain is None or tuned.gain_ci95 is None or tuned.p is None:
            words.append(f"{each.model} not tried: {duration(tuned.seconds)} (a larger --budget)")
            continue
        low, high = (100 * end for end in tuned.gain_ci95)
        sure = "" if tuned.p < SURE else ", not told from chance"
        words.append(
            f"{each.model} {_measured(tuned.accuracy)}, {100 * tuned.gain:+.1f} points to its probe "
            f"({low:+.1f} to {high:+.1f}{sure})"
        )
    return f"Fine-tuning: {'; '.join(words)}." if words else "Fine-tuning: nothing that could be."


def _suspected(told: Recommendation) -> str:
    """Return how many labels look wrong, and which."""
    if told.suspected is None:
        return "Wrong labels: not looked for, for want of time (a larger --budget)."
    low, high = told.suspected.ci95
    names = told.suspected.images
    named = f": {', '.join(names[:SHOWN])}{' ...' * (len(names) > SHOWN)}" if names else ""
    words = f"About {told.suspected.wrong:.0f} labels look wrong ({low:.0f} to {high:.0f}){named}."
    return f"{words} mixer-bench audit lists them." if names else words


def _cells(each: Candidate) -> list[str | Text]:
    assert each.score is not None
    ahead = " to ".join(f"{100 * end:+.1f}" for end in each.ci95 or ())
    test = f"{100 * each.accuracy.value:.1f}" if each.accuracy else ""
    latency = f"{each.latency_ms:.3g}" if each.latency_ms is not None else "-"
    memory = f"{each.memory / 1e6:,.0f}" if each.memory is not None else "-"
    words = WORDS[each.state]
    name = Text(terminal.printable(each.model), STYLES.get(each.state, ""))
    return [name, words, f"{100 * each.score:.1f}", f"{each.images:,}", ahead, test, latency, memory]


def _notes(told: Recommendation) -> Iterator[str]:
    rounds = ", ".join(
        f"{looked.candidates} model{'s' * (looked.candidates > 1)} on {looked.images:,} images"
        for looked in told.rounds
    )
    yield f"out of fold: a linear probe judges images that it was not fitted on; {rounds}"
    yield "ahead: 95 % interval of the winner's lead in points, paired by image; behind: p < 0.05 (Holm)"
    if told.limit is not None:
        yield f"at most {told.limit:,} images a split, by the budget: a larger --budget looks at more"
    if _tested(told) < FEW_TESTED:
        yield f"{_tested(told)} test images are few: the interval says how little they tell"
    left = [each for each in told.candidates if each.reason]
    for reason, alike in grouped(left, lambda each: each.reason).items():
        named = ", ".join(each.model for each in alike[:SHOWN]) + " ..." * (len(alike) > SHOWN)
        yield f"not compared: {named}: {reason}"
    yield from told.remarks
    if told.more:
        named = ", ".join(told.more[:SHOWN])
        yield f"{len(told.more)} more models are not here; a connection fetches those that --model names: {named}, ..."
    yield f"took {duration(told.spent)} of {duration(told.budget)}; images: {told.source}"
