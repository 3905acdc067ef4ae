"""An audit as text, for a terminal, and as a page of thumbnails. Pure; prints nothing."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from mixer_bench.audit.values import Audit, Mixed, Place, Suspect, Twins
from mixer_bench.data.examples import TaskData
from mixer_bench.report.formats import thumbnails
from mixer_bench.report.formats.thumbnails import Shown
from mixer_bench.system import console as terminals
from mixer_bench.system.console import printable

ROWS = 20  # of a table; JSON has all
SIDE_BY_SIDE = 4  # copies that are shown of a group
ALIKE = {"bytes": "same file", "pixels": "same pixels", "features": "near"}


def text(audit: Audit) -> str:
    """Return what looks wrong in at most 100 columns: labels, copies, classes that are mixed up."""
    console = terminals.console()
    for line in _summary(audit):
        console.print(Text(printable(line)))
    chances = ("p wrong", "p label", "p suggested")
    words = ("image", "label", "suggested")
    terminals.show(console, (*words, *chances), map(_suspect, audit.suspects[:ROWS]), left=words)
    if audit.twins:
        words = ("copies", "images", "labels")
        terminals.show(console, (*words, "cosine"), map(_twins, audit.twins[:ROWS]), left=words)
    if audit.mixed:
        counts = ("images", "of", "%", "95 % interval")
        terminals.show(console, ("mixed up", *counts), map(_mixed, audit.mixed), left=("mixed up",))
    terminals.notes(console, [*_left_out(audit), *audit.remarks], terminals.NOTES, "audit --json")
    return terminals.captured(console)


def _summary(audit: Audit) -> Iterator[str]:
    low, high = (100 * end for end in audit.ci95)
    yield (
        f"{audit.task}, {audit.images:,} images of {audit.classes} classes, seen by {audit.model}: a probe agrees with "
        f"{100 * audit.agreement:.1f} % ({low:.1f} to {high:.1f}) of the labels of images that it was not fitted on"
    )
    low, high = audit.wrong_ci95
    yield f"wrong labels: about {audit.wrong:.0f} ({low:.0f} to {high:.0f}), or images that look like another class"
    across = sum(group.across for group in audit.twins)
    other = sum(group.contradicting for group in audit.twins)
    groups = f"{len(audit.twins):,} group{'s' * (len(audit.twins) != 1)}"
    yield f"copies: {groups}, {across:,} of them across splits, {other:,} with different labels"
    near = audit.nearness
    yield (
        f"near: features of a cosine of at least {near.cosine:.3f}; {100 * near.copies:.0f} % of altered copies are, "
        f"and {100 * near.strangers:.1f} % of images with one of another class"
    )


def _where(image: Place) -> str:
    return f"{image.split} {image.name}"


def _suspect(suspect: Suspect) -> list[str]:
    chances = (f"{value:.2f}" for value in (suspect.p_wrong, suspect.p_label, suspect.p_suggested))
    return [_where(suspect.image), suspect.image.label, suspect.suggested, *chances]


def _twins(group: Twins) -> list[str]:
    labels = dict.fromkeys(image.label for image in group.images)
    return [ALIKE[group.alike], " = ".join(map(_where, group.images)), ", ".join(labels), f"{group.cosine:.3f}"]


def _mixed(mixed: Mixed) -> list[str]:
    low, high = (100 * end for end in mixed.ci95)
    (a, b), (forth, back) = mixed.classes, mixed.mistaken
    words = f"{a} as {b} {forth}, {b} as {a} {back}"
    return [words, str(forth + back), str(mixed.images), f"{100 * mixed.share:.1f}", f"{low:.1f} to {high:.1f}"]


def _left_out(audit: Audit) -> Iterator[str]:
    for what, listed in (("suspected labels", audit.suspects), ("groups of copies", audit.twins)):
        if len(listed) > ROWS:
            yield f"{what}: {ROWS} of {len(listed):,} are shown, --json has them all"


def page(audit: Audit, data: TaskData) -> str:
    """Return HTML that shows what the terminal lists; it holds the images themselves, small."""

    def source(image: Place) -> str:
        return thumbnails.thumbnail(data.splits[image.split].images[image.index])

    suspects = [
        Shown(
            [source(suspect.image)],
            [
                _where(suspect.image),
                f"label {suspect.image.label} ({100 * suspect.p_label:.0f} %)",
                f"suggested {suspect.suggested} ({100 * suspect.p_suggested:.0f} %)",
                f"wrong with {100 * suspect.p_wrong:.0f} %",
            ],
        )
        for suspect in audit.suspects[:ROWS]
    ]
    copies = [
        Shown(
            [source(image) for image in group.images[:SIDE_BY_SIDE]],
            [f"{ALIKE[group.alike]}, cosine {group.cosine:.3f}"]
            + [f"{_where(image)}: {image.label}" for image in group.images],
        )
        for group in audit.twins[:ROWS]
    ]
    lines = [*_summary(audit), *_left_out(audit), *audit.remarks]
    sections = {"Labels that look wrong": suspects, "Copies": copies}
    return thumbnails.page(f"{audit.task}, seen by {audit.model}", lines, sections)
