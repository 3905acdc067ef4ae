"""Write small data sets with the real TensorFlow Datasets, for the tests of what reads them without it.

The builders are TFDS's own, with their features, order, sharding and encoding; only the examples are made up. Beside
them stands what TFDS itself reads back: names of images' hashes, labels and order.

    python -m venv build/tfds; build/tfds/bin/pip install tensorflow-cpu tensorflow-datasets
    build/tfds/bin/python tools/tfds_sample.py tests/data/prepared
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

Example = dict[str, Any]
COUNT = 16  # examples of each split


def _image(key: object, side: int, channels: int = 3) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:4], "big")
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, channels))
    return np.kron(corners, np.ones((side // 2, side // 2, 1))).astype(np.uint8)


def _svhn(split: str, row: int) -> tuple[object, Example]:
    return row, {"id": f"{row}", "image": _image((split, row), 32), "label": row % 10}


def _caltech(split: str, row: int) -> tuple[object, Example]:
    name = tfds.builder("caltech101").info.features["label"].names[row % 102]
    file = f"image_{row:04d}.jpg"
    return f"{name}/{file}", {"image": _image((split, row), 16), "label": name, "image/file_name": file}


def _thing(row: int, number: int) -> Example:
    depth = 7.9 + 0.2 * ((3 * row + number) % 13)
    coordinates = {"3d_coords": [0.0, 1.0, 2.0], "pixel_coords": [10.0 + number, 20.0, depth]}
    return {"color": "gray", "material": "rubber", "shape": "cube", "size": "small", "rotation": 0.5, **coordinates}


def _clevr(split: str, row: int) -> tuple[object, Example]:
    file = f"CLEVR_{split[:5]}_{row:06d}.png"
    objects = [_thing(row, number) for number in range(3 + row % 8)]
    return file, {"image": _image((split, row), 16), "file_name": file, "objects": objects, "question_answer": []}


def _vehicle(row: int, number: int) -> Example:
    kinds = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
    place = [0.0, 1.0, float(2 + (5 * row + 7 * number) % 30)]
    box = tfds.features.BBox(ymin=0.1, xmin=0.1, ymax=0.5, xmax=0.5)
    return {
        "type": kinds[(row + 3 * number) % 8],
        "truncated": 0.0,
        "occluded": 0,
        "alpha": 0.0,
        "bbox": box,
        "dimensions": [1.0, 1.0, 1.0],
        "location": place,
        "rotation_y": 0.0,
    }


def _kitti(split: str, row: int) -> tuple[object, Example]:
    file = f"{row:06d}.png"
    objects = [_vehicle(row, number) for number in range(row % 4)]
    return file, {"image": _image((split, row), 16), "image/file_name": file, "objects": objects}


def _dsprites(split: str, row: int) -> tuple[object, Example]:
    labels = {"shape": row % 3, "scale": row % 6, "orientation": (7 * row) % 40}
    labels |= {"x_position": row % 32, "y_position": (3 * row) % 32}
    features = {f"label_{name}": label for name, label in labels.items()}
    features |= {f"value_{name}": 0.5 for name in labels}
    return row, {"id": f"{row}", "image": _image((split, row), 64, 1) // 128, **features}


def _smallnorb(split: str, row: int) -> tuple[object, Example]:
    labels = {"label_category": row % 5, "instance": row % 10, "label_elevation": row % 9}
    labels |= {"label_azimuth": row % 18, "label_lighting": row % 6}
    return row, {
        "id": f"{row}",
        "image": _image((split, row), 96, 1),
        "image2": _image((split, row, 2), 96, 1),
        **labels,
    }


SETS: dict[str, tuple[tuple[str, ...], Callable[[str, int], tuple[object, Example]]]] = {
    "svhn_cropped": (("train", "test"), _svhn),
    "caltech101": (("train", "test"), _caltech),
    "clevr": (("train", "validation"), _clevr),
    "kitti": (("train", "validation", "test"), _kitti),
    "dsprites": (("train",), _dsprites),
    "smallnorb": (("train", "test"), _smallnorb),
}


def write(name: str, folder: Path) -> dict[str, list[Any]]:
    """Write a data set of made-up examples below ``folder``; return what TFDS reads back, in its order."""
    splits, made = SETS[name]
    kind = tfds.builder_cls(name)

    def generate(self: Any, split: str) -> Iterator[tuple[object, Example]]:
        for key, example in (made(split, row) for row in range(COUNT)):
            yield key, {feature: example[feature] for feature in self.info.features}  # by version there are fewer

    kind._split_generators = lambda self, _manager: {split: self._generate_examples(split) for split in splits}
    kind._generate_examples = generate
    builder = tfds.builder(name, data_dir=folder)
    how = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=2)
    builder.download_and_prepare(download_config=how)
    read = tfds.ReadConfig(interleave_cycle_length=1)
    back: dict[str, list[Any]] = {"version": [str(builder.version)]}
    for split in splits:
        bytes_alone = {"image": tfds.decode.SkipDecoding()}
        stored = builder.as_dataset(split=split, decoders=bytes_alone, read_config=read, shuffle_files=False)
        back[split] = [_summary(example) for example in tfds.as_numpy(stored)]
    return back


def _summary(example: Example) -> Example:
    """Return the hash of the stored image and the numbers that labels are made of."""
    summary: Example = {"sha256": hashlib.sha256(example["image"]).hexdigest()}
    summary |= {key: int(value) for key, value in example.items() if key.startswith("label")}
    if "objects" in example:
        summary |= {key: np.asarray(value).tolist() for key, value in example["objects"].items() if key in KEPT}
    return summary


KEPT = ("pixel_coords", "type", "location")


def main() -> None:
    """Write all sets into the folder that is named, and what TFDS reads of them."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        back = {name: write(name, Path(scratch)) for name in SETS}
        for file in sorted(Path(scratch).rglob("*")):
            if file.is_file() and "downloads" not in file.parts:
                place = folder / file.relative_to(scratch)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(file.read_bytes())
    lines = (f"{json.dumps(name)}: {json.dumps(back[name], sort_keys=True)}" for name in sorted(back))
    (folder / "read_by_tfds.json").write_text("{" + ",\n".join(lines) + "}\n")
    print(tfds.__version__, sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()), "bytes")


if __name__ == "__main__":
    main()
