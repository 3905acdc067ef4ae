"""Small stand-ins for the original files that ``torchvision.datasets`` reads, in the layouts of their makers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import scipy.io

from tests.hub_repositories import SIDE, image


def _file(place: Path, colour: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(image(colour, sum(place.name.encode()) % 4, place.suffix.removeprefix(".")))


def pets(root: Path, trainval: list[tuple[str, int]], test: list[tuple[str, int]]) -> None:
    """``annotations/trainval.txt`` with lines ``Abyssinian_1 1 1 1``: classes count from 1."""
    for split, rows in (("trainval", trainval), ("test", test)):
        for name, label in rows:
            _file(root / "oxford-iiit-pet/images" / f"{name}.jpg", label)
        text = "".join(f"{name} {label + 1} 1 1\n" for name, label in rows)
        place = root / "oxford-iiit-pet/annotations" / f"{split}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


def flowers(root: Path, labels: list[int], parts: dict[str, list[int]]) -> None:
    """``imagelabels.mat`` and ``setid.mat``: classes and images count from 1."""
    for number, label in enumerate(labels, 1):
        _file(root / "flowers-102/jpg" / f"image_{number:05d}.jpg", label)
    scipy.io.savemat(root / "flowers-102/imagelabels.mat", {"labels": np.array(labels) + 1})
    ids = {key: np.array(parts[split]) for key, split in (("trnid", "train"), ("valid", "val"), ("tstid", "test"))}
    scipy.io.savemat(root / "flowers-102/setid.mat", ids)


def textures(root: Path, parts: dict[str, list[str]]) -> None:
    """``labels/train1.txt`` with lines ``banded/banded_0002.jpg``."""
    for split, names in parts.items():
        for name in names:
            _file(root / "dtd/dtd/images" / name, len(name))
        place = root / "dtd/dtd/labels" / f"{split}1.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def land_use(root: Path, names: list[str]) -> None:
    """``2750/Forest/Forest_1.jpg``."""
    for number, name in enumerate(names):
        _file(root / "eurosat/2750" / name, number)


def scenes(root: Path, parts: dict[str, list[list[float]]]) -> None:
    """CLEVR: an image and, in ``scenes/``, its objects with their depths in camera coordinates."""
    folder = root / "clevr/CLEVR_v1.0"
    for split, depths in parts.items():
        told = []
        for number, of_objects in enumerate(depths):
            name = f"CLEVR_{split}_{number:06}.png"
            _file(folder / "images" / split / name, number)
            things = [{"pixel_coords": [1, 2, depth]} for depth in of_objects]
            told.append({"image_filename": name, "objects": things})
        place = folder / "scenes" / f"CLEVR_{split}_scenes.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({"scenes": told[::-1]}), encoding="utf-8")


def cifar10(root: Path, train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    """Five training files and one of test, planes of red, green and blue; gives the images [N, 32, 32, 3]."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    made = {}
    for split, labels in (("train", train), ("test", test)):
        images = generator.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
        planes = images.transpose(0, 3, 1, 2).reshape(len(labels), -1)
        names = [f"data_batch_{n}" for n in range(1, 6)] if split == "train" else ["test_batch"]
        for name, part in zip(names, np.array_split(np.arange(len(labels)), len(names)), strict=True):
            content = {"data": planes[part], "labels": labels[part].tolist()}
            (folder / name).write_bytes(pickle.dumps(content))
        made[split] = images
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {n}" for n in range(10)]}))
    return made


def street_numbers(root: Path, train: np.ndarray, test: np.ndarray) -> None:
    """``train_32x32.mat``: [32, 32, 3, N], and the digit 0 written as 10."""
    for split, digits in (("train", train), ("test", test)):
        shown = np.random.default_rng(len(digits)).integers(0, 256, (SIDE, SIDE, 3, len(digits)), dtype=np.uint8)
        written = np.where(digits == 0, 10, digits)[:, None]
        scipy.io.savemat(root / f"{split}_32x32.mat", {"X": shown, "y": written})
