"""What other preparations of images cost: the table for a terminal, and the figure."""

from __future__ import annotations

from tabulate import tabulate

from mixer_bench.audit.preprocessing import Audit, Price
from mixer_bench.report.figures.prices import Prices


def text(done: Audit) -> str:
    """Return the accuracy of the card's own preparation, and a line for each other."""
    rows = [(price.aspect, price.words, f"{100 * price.accuracy:.1f}", *_difference(price)) for price in done.prices]
    headings = ("aspect", "images", "accuracy %", "difference", "95 % interval", "p")
    low, high = (100 * end for end in done.ci95)
    lines = [
        f"{done.model} on {done.task}, {done.protocol}, {done.test_images:,} test images, {done.seeds} seeds: "
        f"{100 * done.prices[0].accuracy:.1f} % ({low:.1f} to {high:.1f}) with the card's own preparation",
        "",
        tabulate(rows, headings, tablefmt="simple", disable_numparse=True),
        "",
        *done.remarks,
    ]
    return "\n".join(lines).rstrip() + "\n"


def _difference(price: Price) -> tuple[str, str, str]:
    if not price.aspect:
        return "", "", ""
    low, high = (100 * end for end in price.ci95)
    return f"{100 * price.difference:+.1f}", f"{low:+.1f} to {high:+.1f}", f"{price.p:.2g}"


def plot(done: Audit) -> Prices:
    """Return the figure of all differences."""
    shown = done.prices[1:]
    return Prices(
        "preprocessing",
        f"{done.model} on {done.task}, {done.protocol}: another preparation, {done.test_images:,} test images",
        "Differences from the card's own preparation with 95 % intervals, paired by test image.",
        [f"{price.aspect}: {price.words}" for price in shown],
        [100 * price.difference for price in shown],
        [(100 * price.ci95[0], 100 * price.ci95[1]) for price in shown],
    )
