"""How the images of the set "clipart" are rendered and compared: near-duplicates and variants of one drawing."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from clipart_classes import label_of
from numpy.typing import NDArray
from PIL import Image, ImageChops

Floats = NDArray[np.floating[Any]]

SIDE = 64
COLOURS = 24  # as lossless WebP the bytes of lossy WebP at quality 80, with two thirds of its error and crisp edges
MARGIN = 0.03  # share of the object's longer side left white on each edge, so that outlines do not touch the border
PAPER = 250  # a pixel with every channel at or above this counts as blank paper when the margins are trimmed
FAINT = 4.0  # mean ink (of 255) below which hairlines all but vanish at 64 px
MAX_PIXELS = 100_000_000  # as RGBA 400 MB; the one image above it (623 megapixels) is not worth the memory
NEAR_DUPLICATE = 0.05  # share of the ink that differs at 16 px; below it pairs look the same at 64 px
# Outline correlation above which two images are variants whatever their names. Not lower: different road signs of one
# frame come to 0.89, and joining all signs of a frame would leave too few groups to split.
SAME_SHAPE = 0.9
RELATED_SHAPE = 0.75  # the same for two images of one name family or of like colours; variants begin at 0.76
LIKE_COLOURS = 0.15  # ink distance that goes with RELATED_SHAPE: a drawing with a detail changed
# The last rule does not hold for signs: different ones share most of their ink, the frame.
FRAMED_CLASSES = ("road_signs", "safety_signs")
KEY_LETTERS = 12  # authors and titles are cut at differing places in variants' names, so only the start is compared
FAMILY_LETTERS = 6  # for a name family, which needs a like outline too

# Words that tell variants of one drawing apart: colours, turns, "bw" for the uncoloured one; and what half of the
# names of a folder share (the author "ganson", "pattern"), which would tell nothing.
VARIANT_WORD = re.compile(
    "bw|b|w|bn|amp|black|white|(sea)?green|gr[ea]y|blue|orange|purple|red|yellow|pink|brown|colou?r(s|ed)?|shaded|outline"
    "|contour|silhouet(te)?|simple|with|without|boundaries|up|down|left|right|bianc[oi]|ner[oi]|rosso|verde|giallo|grigi[oa]"
    "|arancione|ganson|pattern"
)


@dataclass(frozen=True)
class Drawing:
    """One rendered drawing and where it comes from."""

    label: str
    source: str
    pixels: NDArray[np.uint8]


class Groups:
    """Disjoint sets of row numbers, joined pair by pair."""

    def __init__(self, size: int) -> None:
        """Start with every row on its own."""
        self.parent = list(range(size))

    def find(self, row: int) -> int:
        """Return the smallest-known representative of the row's set."""
        while self.parent[row] != row:
            self.parent[row] = self.parent[self.parent[row]]
            row = self.parent[row]
        return row

    def join(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Put both rows of each pair into one set."""
        for first, second in pairs:
            low, high = sorted((self.find(first), self.find(second)))
            self.parent[high] = low

    def sets(self) -> list[list[int]]:
        """Return the sets, each in rising order, ordered by their first row."""
        found: dict[int, list[int]] = {}
        for row in range(len(self.parent)):
            found.setdefault(self.find(row), []).append(row)
        return list(found.values())


def render(path: Path) -> NDArray[np.uint8] | None:
    """Return a drawing as 64x64 RGB on white, filling the frame; None where it is blank, faint, or too large."""
    with Image.open(path) as opened:
        if opened.width * opened.height > MAX_PIXELS:
            return None
        drawing = opened.convert("RGBA")
    flat = Image.new("RGB", drawing.size, "white")
    flat.paste(drawing, mask=drawing.getchannel("A"))
    darkness = ImageChops.invert(flat)
    # The darkest channel decides: pale yellow is ink although its red and green are those of paper.
    ink = Image.fromarray(np.asarray(darkness).max(axis=2) > 255 - PAPER)
    box = ink.getbbox()
    if box is None:
        return None
    flat = flat.crop(box)
    side = round(max(flat.size) * (1 + 2 * MARGIN))
    square = Image.new("RGB", (side, side), "white")
    square.paste(flat, ((side - flat.width) // 2, (side - flat.height) // 2))
    # A gap of 3 reduces very large drawings by averaging first: no visible difference, a fraction of the time.
    small = square.resize((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    limited = small.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    pixels = np.asarray(limited.convert("RGB"))
    return pixels if 255.0 - pixels.mean() >= FAINT else None


def read_images(root: Path) -> Iterator[Drawing]:
    """Yield the drawings of every class; links are followed, since the package files one drawing in several folders."""
    # Pillow's guard against decompression bombs is replaced by the check of the size in `render`: this input is known.
    Image.MAX_IMAGE_PIXELS = None
    sources = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png") if path.is_file())
    for source in sources:
        label = label_of(source)
        pixels = render(root / source) if label else None
        if label and pixels is not None:
            yield Drawing(label, source, pixels)


def box_means(values: Floats, side: int) -> Floats:
    """Average square blocks of (count, height, width, ...) arrays down to the given side."""
    count, height = values.shape[:2]
    block = height // side
    means: Floats = values.reshape(count, side, block, side, block, *values.shape[3:]).mean(axis=(2, 4))
    return means


def ink_distances(pixels: NDArray[np.uint8]) -> Floats:
    """Return, for all pairs, the share of the two images' ink that differs (0 the same, 1 nothing in common).

    Relative to the ink, because two faint outlines on white are close in plain pixel distance whatever they show.
    """
    ink = box_means(255.0 - pixels.astype(np.float32), 16).reshape(len(pixels), -1)
    total = ink.sum(axis=1)
    return np.stack([np.abs(ink - row).sum(axis=1) / (total + row.sum()) for row in ink])


def outline_similarities(pixels: NDArray[np.uint8]) -> Floats:
    """Return, for all pairs, the correlation of the edge maps; a recoloured or uncoloured drawing keeps its edges."""
    values = pixels.astype(np.float32)
    across = np.abs(np.diff(values, axis=2, append=255.0)).max(axis=3)
    down = np.abs(np.diff(values, axis=1, append=255.0)).max(axis=3)
    # Capped at half the range: an edge between two colours then counts nearly as much as one between black and white.
    edges = box_means(np.minimum(np.hypot(across, down), 128.0), 32)
    for axis in (1, 2):  # a small blur forgives shifts by a pixel
        edges = (np.roll(edges, 1, axis) + 2 * edges + np.roll(edges, -1, axis)) / 4
    rows = edges.reshape(len(pixels), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    rows = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6)
    table: Floats = rows @ rows.T
    return table


def pairs_where(condition: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """List the pairs (first < second) that a square table marks."""
    first, second = np.nonzero(np.triu(condition, 1))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def name_key(source: str) -> str:
    """Reduce a file name to what variants of one drawing share."""
    stem = re.sub(r"([_-]\d+r?|_r|_)+$", "", PurePosixPath(source).stem.lower())
    words = [word for word in re.split(r"[^a-z0-9]+", stem) if word and not VARIANT_WORD.fullmatch(word)]
    return "".join(words)[:KEY_LETTERS] or stem


def family(source: str) -> str:
    """Reduce a file name further, to what a numbered series shares."""
    return re.sub(r"\d+", "", name_key(source))[:FAMILY_LETTERS]


def without_duplicates(images: list[Drawing]) -> tuple[list[Drawing], Counter[str]]:
    """Keep the first of each set of near-duplicates, and none where a set spans classes: its label is in doubt."""
    groups = Groups(len(images))
    groups.join(pairs_where(ink_distances(np.stack([p.pixels for p in images])) < NEAR_DUPLICATE))
    kept, dropped = [], Counter[str]()
    for rows in groups.sets():
        if len({images[row].label for row in rows}) > 1:
            dropped["in two classes"] += len(rows)
            continue
        exact = len({images[row].pixels.tobytes() for row in rows})
        dropped.update({"exact": len(rows) - exact, "near": exact - 1})
        kept.append(images[rows[0]])
    return kept, dropped


def variant_groups(images: list[Drawing]) -> list[list[int]]:
    """Group the rows that show one drawing: by name, by outline, or by outline and name or colour less closely."""

    def equal(names: list[str]) -> NDArray[np.bool_]:
        column = np.array(names)
        same: NDArray[np.bool_] = column[:, None] == column[None, :]
        return same

    same_label = equal([image.label for image in images])
    pixels = np.stack([image.pixels for image in images])
    alike = outline_similarities(pixels)
    same_name = equal([name_key(image.source) for image in images]) & same_label
    unframed = np.array([image.label not in FRAMED_CLASSES for image in images])
    near = (ink_distances(pixels) < LIKE_COLOURS) & same_label & unframed
    related = (equal([family(image.source) for image in images]) | near) & (alike > RELATED_SHAPE)
    groups = Groups(len(images))
    groups.join(pairs_where(same_name | related | (alike > SAME_SHAPE)))
    return groups.sets()
