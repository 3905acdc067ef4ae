"""A figure as a part of a page: its colours follow the page's theme, its ids meet no other's, nothing in it can run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mixer_bench.report.figures.style import GREY, GRID, INK, OVER_DARK, OVER_LIGHT

# What is drawn in these takes the page's own colours; "#000000" is matplotlib's for what nobody chose.
OF_PAGE = {INK: "currentColor", "#000000": "currentColor", GREY: "var(--quiet)", GRID: "var(--line)"}
OF_PAGE["#ffffff"] = "var(--page)"
DARK_PAGE = "#16181c"  # page.css
CONTRAST = 3.0  # of graphical objects with what is beside them, at least (WCAG 2.2, 1.4.11)
DROPPED = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
REFERENCE = re.compile(r'(href="#|url\(#)([^")]+)')
COLOUR = re.compile(r"""(fill|stroke)(?:: (#[0-9a-f]{6})|="(#[0-9a-f]{6})")""")
OPENING = re.compile(r'<svg[^>]*(viewBox="[^"]*")[^>]*>')
LINEAR = 10  # the part of a colour, of 255, up to which sRGB is linear


def inline(svg: str, number: int) -> str:
    """Return the element that matplotlib's file ``svg`` has, for a page in which it is figure ``number``."""
    body = OPENING.sub(r"<svg \1>", DROPPED.sub("", svg[svg.index("<svg") :]))
    referenced = {name for _, name in REFERENCE.findall(body)}
    ids = re.compile(r' id="([^"]*)"')
    body = ids.sub(lambda found: f' id="f{number}-{found[1]}"' if found[1] in referenced else "", body)
    body = REFERENCE.sub(rf"\1f{number}-\2", body)
    # As attributes colours know no variables: hatches have them so.
    return COLOUR.sub(_styled, body)


def _styled(found: re.Match[str]) -> str:
    what, of_style, alone = found.groups()
    return f"{what}: {_themed(of_style)}" if of_style else f'style="{what}: {_themed(alone)}"'


def _themed(colour: str) -> str:
    if colour in OF_PAGE:
        return OF_PAGE[colour]
    if colour in (OVER_DARK, OVER_LIGHT):
        return colour
    lighter, share = colour, 0.0
    while _contrast(lighter, DARK_PAGE) < CONTRAST:
        share += 0.1
        lighter = "#" + "".join(f"{round(part + share * (255 - part)):02x}" for part in _parts(colour))
    return colour if lighter == colour else f"light-dark({colour}, {lighter})"


def _parts(colour: str) -> Sequence[int]:
    return bytes.fromhex(colour[1:])


def _contrast(a: str, b: str) -> float:
    """Return WCAG's contrast ratio of two colours."""
    darker, lighter = sorted(map(_luminance, (a, b)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    linear = [
        part / 255 / 12.92 if part <= LINEAR else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in _parts(colour)
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
