"""Numbers of a comparison in words, as tables print them."""

from __future__ import annotations

from mixer_bench.stats.intervals import Interval


def points(difference: float, ci95: Interval) -> str:
    """Return a difference in [-1, 1] with its interval, in points of accuracy."""
    return f"{100 * difference:+.1f} [{100 * ci95[0]:+.1f}, {100 * ci95[1]:+.1f}]"


def p_value(p: float) -> str:
    """Return p as papers print it."""
    return f"{p:.2g}" if p >= 0.001 else "<0.001"  # noqa: PLR2004
