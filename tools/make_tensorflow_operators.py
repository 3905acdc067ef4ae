"""Write down what TensorFlow's own operators give, for tests to compare ours with.

Run in an environment of its own that has tensorflow-cpu and optax, from the root of the checkout:

    python -m tools.make_tensorflow_operators

Made with TensorFlow 2.21.0 and optax 0.2.8 (both stand in the file, too).
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optax
import tensorflow as tf

from tests.patterns import BOXES, CROPPED, SIDE, SIZES, digest, pattern, summary

TO = Path(__file__).parents[1] / "tests/golden/tensorflow_operators.npz"
DRAWS = 10_000
SMALL = 5_000  # values of an array that is kept whole; of a larger one the digest is
RATE = 0.03
COSINE = [(500, 100), (2500, 200)]  # steps and warm-up
STAIRS = {"bit": (500, 100, (200, 300, 400)), "task_adaptation": (1000, 80, (300, 600, 900))}


def resized() -> Iterator[tuple[str, np.ndarray]]:
    """Give both ways of resizing as they are and cut off to bytes, and crops resized."""
    for size in SIZES:
        for method in ("bilinear", "area"):
            values = tf.image.resize(pattern(*size[:2]), size[2:], method=method)
            name = f"{method} {' '.join(map(str, size))}"
            yield name, kept(values.numpy())
            yield f"{name} bytes", kept(tf.cast(values, tf.uint8).numpy())
    for top, left, height, width in BOXES:
        cut = tf.slice(pattern(*SIZES[0][:2]), (top, left, 0), (height, width, -1))
        yield f"box {top} {left} {height} {width}", tf.image.resize(cut, (SIDE, SIDE)).numpy()


def decoded() -> Iterator[tuple[str, np.ndarray]]:
    """Give the digests of JPEGs decoded by the accurate transform; EXIF's orientation is not looked at."""
    for file in sorted((TO.parent / "encoded").glob("*.jpg")):
        if file.stem != "cmyk":  # TensorFlow reads its inks in another way than Pillow
            pixels = tf.io.decode_jpeg(file.read_bytes(), channels=3, dct_method="INTEGER_ACCURATE")
            yield f"decode {file.name}", np.array(digest(pixels.numpy()))


def kept(values: np.ndarray) -> np.ndarray:
    """Return an array, or its digest if it is large."""
    return values if values.size <= SMALL else np.array(digest(values))


def drawn() -> Iterator[tuple[str, np.ndarray]]:
    """Give a summary of inception crops, as vision_transformer and big_vision ask for them."""
    for height, width in CROPPED:
        boxes = []
        for draw in range(DRAWS):
            begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
                (height, width, 3),
                tf.zeros([0, 0, 4], tf.float32),
                seed=(draw, 0),
                area_range=(0.05, 1.0),
                min_object_covered=0,
                use_image_if_no_bounding_boxes=True,
            )
            boxes.append([*begin.numpy()[:2], *size.numpy()[:2]])
        yield f"inception {height} {width}", summary(np.array(boxes), height, width)


def schedules() -> Iterator[tuple[str, np.ndarray]]:
    """Give the learning rate of each update, float64 [steps]: cosine by optax, stairs by TensorFlow and the sources."""
    for steps, warmup in COSINE:
        rate = optax.warmup_cosine_decay_schedule(0.0, RATE, warmup, steps)
        yield f"cosine {steps} {warmup} from 0", np.array([float(rate(step)) for step in range(steps)])
        yield f"cosine {steps} {warmup} from 1", np.array([float(rate(step)) for step in range(1, steps + 1)])
    for source, (steps, warmup, places) in STAIRS.items():
        rates = [RATE * 0.1**drops for drops in range(len(places) + 1)]
        # task_adaptation's own call; big_transfer's bit_hyperrule.get_lr loops over `if s < step: base_lr /= 10`.
        stairs = tf.compat.v1.train.piecewise_constant
        values = [
            min(1, step / warmup) * float(stairs(tf.constant(step), list(places), rates)()) for step in range(steps)
        ]
        if source == "bit":
            looped = [
                min(1, step / warmup) * RATE / 10 ** sum(place < step for place in places) for step in range(steps)
            ]
            assert all(math.isclose(*pair, rel_tol=1e-6) for pair in zip(values, looped, strict=True))
        yield f"stairs {source} {steps} {warmup} {' '.join(map(str, places))}", np.array(values)


if __name__ == "__main__":
    versions = {"tensorflow": np.array(tf.__version__), "optax": np.array(optax.__version__), "rate": np.array(RATE)}
    made = itertools.chain(decoded(), resized(), drawn(), schedules())
    np.savez_compressed(TO, **versions, **dict(made))
    print(f"{TO}: {TO.stat().st_size:,} bytes")
