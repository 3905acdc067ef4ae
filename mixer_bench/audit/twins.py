"""Images that are there more than once: the same bytes, the same pixels, or features as near as those of a copy."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mixer_bench.audit.values import Nearness
from mixer_bench.data.decoding import decode
from mixer_bench.data.examples import Examples, Images
from mixer_bench.system.grouping import grouped

ROWS = 512  # of the matrix of similarities at a time
COPIED, STRANGERS = 32, 1000  # images that are copied, and whose nearest of another class is looked for
FOUND, PASSED = 0.05, 0.99  # quantiles: of copies, of the nearest of another class
SMALLEST = 1e-6  # square of a distance that rounding leaves
SAME = 1 - 1e-5  # cosine of the same pixels, but for rounding
MOST = 2000  # pairs that are told


def mirrored(image: np.ndarray) -> np.ndarray:
    """Return the mirror image."""
    return np.ascontiguousarray(image[:, ::-1])


def cropped(image: np.ndarray) -> np.ndarray:
    """Return the central 90 % of either side."""
    top, left = (round(0.05 * side) for side in image.shape[:2])
    return np.ascontiguousarray(image[top : image.shape[0] - top, left : image.shape[1] - left])


def resaved(image: np.ndarray) -> np.ndarray:
    """Return the image saved as JPEG of quality 75."""
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(content, "JPEG", quality=75)
    return decode(content.getvalue(), "a copy", upright=False)


ALTERATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored": mirrored,
    "cropped to 90 %": cropped,
    "saved as JPEG": resaved,
}


@dataclass(frozen=True)
class _Altered:
    """Copies of images, made when asked for."""

    images: Images
    alter: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int, /) -> np.ndarray:
        return self.alter(self.images[index])


def copies(examples: Examples) -> tuple[np.ndarray, Examples]:
    """Return which images are copied, and their copies, kind by kind: their features tell how near copies are."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(examples))[:COPIED])
    originals = examples.take(chosen)
    parts = []
    for name, alter in ALTERATIONS.items():
        digests = tuple(hashlib.sha256(f"{name} {digest}".encode()).hexdigest() for digest in originals.digests)
        images = _Altered(originals.images, alter)
        parts.append(Examples(images, originals.labels, originals.names, digests, originals.upright))
    return np.tile(chosen, len(parts)), Examples.joined(parts)


def threshold(
    unit: np.ndarray, labels: np.ndarray, copied: np.ndarray, of_copies: np.ndarray
) -> tuple[np.ndarray, Nearness]:
    """Return the cosine of each image [N] that 95 % of copies reach, or a higher one that different images do not.

    At most 1 % of images reach it with one of another class; and it is nearer than the nearest of an image's class
    would be to any of N images by chance, if logarithms of these distances were normal: classes differ in how alike
    their images are. Medians and quartiles say it, which copies among the images hardly move.

    Args:
        unit: features [N, D] of length 1.
        labels: int [N].
        copied: positions [C] of the images that were copied.
        of_copies: features [C, D] of the copies, of length 1.
    """
    near = (unit[copied] * of_copies).sum(axis=1)
    some = np.sort(np.random.default_rng(1).permutation(len(unit))[:STRANGERS])
    strangers = np.concatenate([
        np.where(labels[rows][:, None] == labels, -1.0, unit[rows] @ unit.T).max(axis=1)
        for rows in np.array_split(some, -(-len(some) // ROWS))
    ])  # fmt: skip
    common = max(np.quantile(near, FOUND), np.quantile(strangers, PASSED))
    cosines = np.maximum(common, _outlying(unit, labels))
    copies, others = float((near >= cosines[copied]).mean()), float((strangers >= cosines[some]).mean())
    return cosines, Nearness(cosine=float(cosines.min()), copies=copies, strangers=others)


def _outlying(unit: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return for each image [N] the cosine that the nearest others of its class stay below."""
    from scipy.special import ndtri

    nearest, middle = np.zeros(len(unit)), np.zeros(len(unit))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        for rows in np.array_split(members, -(-len(members) // ROWS)) if len(members) > 1 else ():
            similar = unit[rows] @ unit[members].T
            similar[rows[:, None] == members] = -1
            nearest[rows] = 0.5 * np.log(np.maximum(2 - 2 * similar.max(axis=1), SMALLEST))
        middle[members] = np.median(nearest[members])
    spread = -np.quantile(nearest - middle, 0.25) / ndtri(0.75)
    return np.asarray(1 - np.exp(2 * (middle + ndtri(1 / (2 * len(unit))) * spread)) / 2)


def directions(features: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what gives unit vectors [M, D] from the mean of ``features`` [N, D] to other features."""
    mean = features.mean(axis=0, dtype=np.float64)

    def unit(others: np.ndarray) -> np.ndarray:
        centred = (others - mean).astype(np.float32)
        return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))

    return unit


def pairs(unit: np.ndarray, cosines: np.ndarray, done: Callable[[int], object]) -> list[tuple[int, int, float]]:
    """Return pairs of positions whose cosine is as high as both ask for [N], the nearest first; ``MOST`` at most.

    ``done`` is told of how many images more.
    """
    near = np.empty((0, 3))
    for start in range(0, len(unit), ROWS):
        similar = np.triu(unit[start : start + ROWS] @ unit[start:].T, 1)
        rows, columns = np.nonzero(similar >= np.maximum(cosines[start : start + ROWS, None], cosines[start:]))
        more = np.stack([start + rows, start + columns, similar[rows, columns]], axis=1)
        near = np.concatenate([near, more])
        near = near[np.argsort(-near[:, 2], kind="stable")[:MOST]]
        done(min(ROWS, len(unit) - start))
    return [(int(i), int(j), float(similarity)) for i, j, similarity in near]


def repeated(examples: Examples) -> Iterator[list[int]]:
    """Give the positions of each image whose bytes are there more than once."""
    places = grouped(range(len(examples)), examples.digests.__getitem__)
    return (group for group in places.values() if len(group) > 1)
