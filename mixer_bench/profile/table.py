"""Profiles to text, for a terminal. Pure; prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mixer_bench.results.profiles import Profile
from mixer_bench.system import console as terminal
from mixer_bench.system import machine

HEADINGS = ("model", "px", "params M", "GFLOPs", "img/s", "batch", "latency ms (p95)", "memory MB", "% of peak")
GRADED = 100  # from here up, numbers are shown whole


def text(profiles: Sequence[Profile], notes: Sequence[str] = ()) -> str:
    """Return a table of profiles of one device and precision, how they were measured, and how cost grows.

    Args:
        profiles: one or more, in the order of the rows.
        notes: what was said of them while they were measured.
    """
    console = terminal.console()
    terminal.show(console, HEADINGS, map(_cells, profiles), left=HEADINGS[:1])
    told = [*notes, *_notes(profiles), *growth(profiles)]
    terminal.notes(console, told, max(terminal.NOTES, len(profiles)), "profile --json")
    return terminal.captured(console)


def _cells(profile: Profile) -> tuple[str, ...]:
    latency, memory = profile.latency_ms, profile.best.peak_memory
    return (
        profile.label,
        str(profile.resolution),
        f"{profile.parameters / 1e6:,.2f}",
        f"{profile.flops / 1e9:,.2f}",
        _amount(profile.throughput),
        str(profile.best_batch),
        f"{_amount(latency.median)} ({_amount(latency.p95)})",
        "-" if memory is None else f"{memory / 1e6:,.0f}",
        f"{100 * profile.utilisation:.0f}",
    )


def _amount(value: float) -> str:
    """Format to three digits."""
    return f"{value:,.0f}" if value >= GRADED else f"{value:.3g}"


def _between(values: Sequence[float]) -> str:
    """Format the smallest and the largest, or the one there is."""
    return " to ".join(dict.fromkeys(_amount(value) for value in (min(values), max(values))))


def _notes(profiles: Sequence[Profile]) -> list[str]:
    first = profiles[0]
    name = first.device_name
    place = machine.with_threads(name, first.threads) if first.device == "cpu" else f"{name} ({first.device})"
    cast = "" if first.precision == "fp32" else " by autocast, weights in fp32"
    passes = _between([profile.latency_ms.repeats for profile in profiles])
    peaks = _between([profile.matmul_peak_flops / 1e9 for profile in profiles])
    notes = [
        f"{place}, {first.precision}{cast}, {first.networks}",
        f"img/s: forward pass alone, at the fastest batch size; after {first.warmup} passes the median of "
        f"{first.repeats} repeats of {first.repeat_seconds:g} s or more",
        f"latency: batch 1, median and 95th percentile of {passes} passes after {first.warmup}",
        "memory: the peak at that batch size, weights and images included",
        f"% of peak: img/s x FLOPs against large matrix products, measured in turn with the network: {peaks} GFLOP/s; "
        "a multiply-add is two FLOPs",
    ]
    cut = _labels(p for p in profiles if p.sweep_end == "time" and p.best == p.sweep[-1])
    if cut:
        notes.append(f"a larger batch might be faster, but a pass of this one took too long: {cut}")
    if any(profile.shape == "widened" for profile in profiles):
        notes.append("widened: token-mixing MLPs grow with the patches, as in `run --resolution`; else widths stay")
    return notes


def _labels(profiles: Iterable[Profile]) -> str:
    return ", ".join(f"{profile.label} {profile.resolution} px" for profile in profiles)


def growth(profiles: Sequence[Profile]) -> list[str]:
    """Return a line a model on how cost grows from its smallest to its largest resolution, by a Mixer's two shapes."""
    lines = []
    for model in dict.fromkeys(profile.model for profile in profiles):
        of_model = [profile for profile in profiles if profile.model == model]
        for shape in dict.fromkeys(p.shape for p in of_model if p.shape != "native") or ["native"]:
            series = sorted((p for p in of_model if p.shape in ("native", shape)), key=lambda p: p.resolution)
            small, large = series[0], series[-1]
            if small.resolution == large.resolution:
                continue
            counted = "patches" if small.patches and large.patches else "pixels"
            of_image = [profile.patches or profile.resolution**2 for profile in (small, large)]
            lines.append(
                f"{large.label}, {small.resolution} to {large.resolution} px: {counted} x "
                f"{of_image[1] / of_image[0]:g}, FLOPs x {large.flops / small.flops:.2f}, "
                f"time an image x {small.throughput / large.throughput:.1f}"
            )
    return lines
