"""Write down what the sources' own preparations give in TensorFlow, for tests to compare the presets' frames with.

Run in an environment of its own that has tensorflow-cpu, from the root of the checkout:

    python -m tools.make_tensorflow_frames > tests/golden/tensorflow_frames.csv

Made with TensorFlow 2.21.0. Each line is the digest of what a preset's source makes of an image before anything random.
"""

from collections.abc import Callable, Iterator

import tensorflow as tf

from tests.patterns import FRAMED, digest, pattern


def resize(image: tf.Tensor, side: int) -> tf.Tensor:
    """Squash, fractional: big_transfer's input_pipeline_tf2_or_jax.py, vision_transformer's input_pipeline.py."""
    return tf.image.resize(image, (side, side))


def resize_to_bytes(image: tf.Tensor, side: int) -> tf.Tensor:
    """Squash and cut off to bytes, as scenic's `resize`."""
    return tf.cast(resize(image, side), image.dtype)


def resize_small(image: tf.Tensor, side: int) -> tf.Tensor:
    """Bring the shorter side to ``side`` by areas and cut off to bytes, as big_vision's `resize_small`."""
    height, width = (tf.cast(length, tf.float32) for length in image.shape[:2])
    scale = side / tf.minimum(height, width)
    size = [tf.cast(tf.round(length * scale), tf.int32) for length in (height, width)]
    return tf.cast(tf.image.resize(image, size, method="area"), image.dtype)


def central_crop(image: tf.Tensor, side: int) -> tf.Tensor:
    """Cut out the centre, as big_vision's `central_crop`."""
    height, width = image.shape[:2]
    return tf.image.crop_to_bounding_box(image, (height - side) // 2, (width - side) // 2, side, side)


Prepare = Callable[[tf.Tensor], tf.Tensor]
# Preset, task and side of the input: what is done in training before a crop, and at test.
PREPARED: dict[tuple[str, str, int], tuple[Prepare, Prepare]] = {
    ("big-vision-transfer", "cifar10", 384): (
        lambda image: resize_small(image, 448),
        lambda image: central_crop(resize_small(image, 448), 384),
    ),
    ("big-vision-transfer", "pets", 384): (
        lambda image: image,
        lambda image: central_crop(resize_small(image, 448), 384),
    ),
    ("scenic-vtab", "vtab/pets", 384): (
        lambda image: resize_to_bytes(image, 448),
        lambda image: resize_to_bytes(image, 384),
    ),
    ("scenic-vtab", "vtab/clevr_count", 384): (
        lambda image: resize_to_bytes(image, 384),
        lambda image: resize_to_bytes(image, 384),
    ),
    ("vit-public", "cifar10", 384): (lambda image: image, lambda image: resize(image, 384)),
    ("mixer-public", "cifar10", 224): (lambda image: image, lambda image: resize(image, 224)),
    ("bit-tf", "pets", 480): (lambda image: resize(image, 512), lambda image: resize(image, 480)),
    ("bit-tf", "cifar10", 128): (lambda image: resize(image, 160), lambda image: resize(image, 128)),
    ("bit-hyperrule", "pets", 384): (lambda image: resize(image, 448), lambda image: resize(image, 384)),
}


def lines() -> Iterator[str]:
    """Give the table, a line a frame."""
    yield "preset,task,side,height,width,training,test"
    for (preset, task, side), prepare in PREPARED.items():
        for height, width in FRAMED:
            frames = [digest(made(tf.constant(pattern(height, width))).numpy()) for made in prepare]
            yield ",".join([preset, task, str(side), str(height), str(width), *frames])


if __name__ == "__main__":
    print("\n".join(lines()))
