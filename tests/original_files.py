"""Small stand-ins for the original files that ``torchvision.datasets`` reads, in the layouts of their makers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import scipy.io

from mixer_bench.data import resized
from tests.hub_repositories import POOL, SIDE, image, pixels_of


def write(place: Path, content: str | bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content.encode() if isinstance(content, str) else content)


def images(folder: Path, names: list[str]) -> None:
    """An image of the pool at each place below ``folder``."""
    for number, name in enumerate(names):
        write(folder / name, image(number % POOL, sum(name.encode()) % 4, name.rpartition(".")[2]))


def pets(root: Path, trainval: list[tuple[str, int]], test: list[tuple[str, int]]) -> None:
    """``annotations/trainval.txt`` with lines ``Abyssinian_1 1 1 1``: classes count from 1."""
    for split, rows in (("trainval", trainval), ("test", test)):
        images(root / "oxford-iiit-pet/images", [f"{name}.jpg" for name, _ in rows])
        for row in resized.looked_at(len(rows)):
            write(root / f"oxford-iiit-pet/images/{rows[row][0]}.jpg", image(row % POOL, 0, "jpg", pixels_of("pets")))
        text = "".join(f"{name} {label + 1} 1 1\n" for name, label in rows)
        write(root / "oxford-iiit-pet/annotations" / f"{split}.txt", text)


def flowers(root: Path, labels: list[int], parts: dict[str, list[int]]) -> None:
    """``imagelabels.mat`` and ``setid.mat``: classes and images count from 1."""
    images(root / "flowers-102/jpg", [f"image_{number:05d}.jpg" for number in range(1, len(labels) + 1)])
    scipy.io.savemat(root / "flowers-102/imagelabels.mat", {"labels": np.array(labels) + 1})
    ids = {key: np.array(parts[split]) for key, split in (("trnid", "train"), ("valid", "val"), ("tstid", "test"))}
    scipy.io.savemat(root / "flowers-102/setid.mat", ids)


def textures(root: Path, parts: dict[str, list[str]]) -> None:
    """``labels/train1.txt`` with lines ``banded/banded_0002.jpg``."""
    for split, names in parts.items():
        images(root / "dtd/dtd/images", names)
        write(root / "dtd/dtd/labels" / f"{split}1.txt", "".join(f"{name}\n" for name in names))


def scenes(root: Path, parts: dict[str, list[list[float]]]) -> None:
    """CLEVR: an image and, in ``scenes/``, its objects with their depths in camera coordinates."""
    folder = root / "clevr/CLEVR_v1.0"
    for split, depths in parts.items():
        names = [f"CLEVR_{split}_{number:06}.png" for number in range(len(depths))]
        images(folder / "images" / split, names)
        objects = [[{"pixel_coords": [1, 2, depth]} for depth in of_scene] for of_scene in depths]
        told = [{"image_filename": name, "objects": things} for name, things in zip(names, objects, strict=True)]
        write(folder / "scenes" / f"CLEVR_{split}_scenes.json", json.dumps({"scenes": told[::-1]}))


def cifar10(root: Path, train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    """Five training files and one of test, planes of red, green and blue; gives the images [N, 32, 32, 3]."""
    folder = root / "cifar-10-batches-py"
    generator = np.random.default_rng(0)
    made = {}
    for split, labels in (("train", train), ("test", test)):
        made[split] = generator.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
        planes = made[split].transpose(0, 3, 1, 2).reshape(len(labels), -1)
        names = [f"data_batch_{n}" for n in range(1, 6)] if split == "train" else ["test_batch"]
        for name, part in zip(names, np.array_split(np.arange(len(labels)), len(names)), strict=True):
            write(folder / name, pickle.dumps({"data": planes[part], "labels": labels[part].tolist()}))
    write(folder / "batches.meta", pickle.dumps({"label_names": [f"class {n}" for n in range(10)]}))
    return made


def street_numbers(root: Path, train: np.ndarray, test: np.ndarray) -> None:
    """``train_32x32.mat``: [32, 32, 3, N], and the digit 0 written as 10."""
    for split, digits in (("train", train), ("test", test)):
        shown = np.random.default_rng(len(digits)).integers(0, 256, (SIDE, SIDE, 3, len(digits)), dtype=np.uint8)
        scipy.io.savemat(root / f"{split}_32x32.mat", {"X": shown, "y": np.where(digits == 0, 10, digits)[:, None]})
