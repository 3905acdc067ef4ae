"""Images made of integer arithmetic alone, so that they are the same everywhere, and the fixed sizes of tests."""

import hashlib

import numpy as np

# Of an image and of what is made of it: height, width, height, width.
SIZES = [(37, 53, 16, 16), (375, 500, 256, 341), (500, 375, 64, 64), (32, 32, 70, 70), (33, 47, 64, 91), (1, 9, 5, 5)]
BOXES = [(3, 5, 17, 23), (0, 0, 37, 53), (36, 52, 1, 1), (10, 0, 27, 9)]  # of the first: top, left, height, width
SIDE = 24  # of the views of these boxes
CROPPED = [(32, 32), (500, 375), (375, 500), (40, 400)]  # height and width of images that boxes are drawn from
FRAMED = [(375, 500), (333, 250), (32, 32), (70, 91)]  # height and width of images that presets frame
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def pattern(height: int, width: int) -> np.ndarray:
    """Return slopes with steps and a fine texture, uint8 [height, width, 3]: every filter gives them other values."""
    down, along, channel = np.ogrid[:height, :width, :3]
    return (
        (down * 5 + along * 3 + channel * 40 + (down * along * 7) % 61 + (down // 9 + along // 7) % 2 * 90) % 256
    ).astype(np.uint8)


def digest(values: np.ndarray) -> str:
    """Return the SHA-256 of an array's bytes in order."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def summary(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return what tells laws of drawing apart, float64 [3, 1 + quantiles].

    Rows are the kept share of the area, the ratio of width to height, and the place among what is free, from top and
    left together; columns the mean and ``QUANTILES``.
    """
    top, left, tall, wide = boxes.astype(float).T
    free = np.maximum(height - tall, 1) + np.maximum(width - wide, 1)
    rows = [tall * wide / (height * width), wide / tall, (top + left) / free]
    return np.array([[row.mean(), *np.quantile(row, QUANTILES)] for row in rows])
