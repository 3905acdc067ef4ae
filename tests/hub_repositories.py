"""Stand-ins for the hub's repositories: real ids, columns, splits, row counts and class counts; tiny images.

Row counts are whole so that the tasks' own slices and sizes hold. Images are drawn from a small pool, several a class
and coloured by class, so that the files stay small and a linear probe has something to find.
"""

from __future__ import annotations

import colorsys
import functools
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mixer_bench.data import resized
from mixer_bench.task.task import TASKS, load_tasks

SIDE = 12
ROWS = 16  # of an image as large as the published ones: few, so that the file stays small
A_CLASS = 4  # different images
POOL = 64  # colours; classes beyond share them


@functools.cache
def image(colour: int, variant: int, suffix: str = "png", pixels: int = 0) -> bytes:
    """One of the pool: a colour with noise; of that many ``pixels``, a bare colour."""
    generator = np.random.default_rng([colour, variant])
    shade = np.array(colorsys.hsv_to_rgb(colour / POOL, 0.9, 0.5 + 0.1 * variant)) * 255
    noise = np.zeros((ROWS, pixels // ROWS, 3)) if pixels else generator.normal(0, 12, (SIDE, SIDE, 3))
    content = io.BytesIO()
    options = {"lossless": True} if suffix == "webp" else {}
    shown = Image.fromarray(np.clip(shade + noise, 0, 255).astype(np.uint8))
    shown.save(content, {"jpg": "jpeg"}.get(suffix, suffix), **options)
    return content.getvalue()


def pixels_of(task: str) -> int:
    """How many pixels an image of the task may have."""
    return (load_tasks(TASKS)[task].pixels or (0,))[0]


def cycled(classes: int, count: int, start: int = 0) -> np.ndarray:
    """As many of each class as can be, in a fixed disorder."""
    return np.random.default_rng([classes, count, start]).permutation(np.arange(count) % classes)


@dataclass(frozen=True)
class Repository:
    """A data set on the hub."""

    splits: dict[str, int]
    classes: int
    label: str = "label"
    image: str = "image"
    names: tuple[str, ...] = ()  # of a ClassLabel; empty: bare numbers
    more: dict[str, int] = field(default_factory=dict)  # further label columns and their classes
    key: str = ""  # a column of unique texts
    task: str = ""  # whose published images' size those that are looked at have
    folder: str = "data"
    shards: int = 1
    suffix: str = "png"
    webdataset: bool = False
    readme: str = ""


SVHN = """---
configs:
- config_name: cropped_digits
  data_files:
  - split: train
    path: cropped_digits/train-*
  - split: test
    path: cropped_digits/test-*
  - split: extra
    path: cropped_digits/extra-*
---
"""
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DPDL = {
    "caltech101": Repository({"train": 3060, "test": 6084}, 102),
    "dtd": Repository({"train": 1880, "validation": 1880, "test": 1880}, 47),
    "oxford_flowers102": Repository({"train": 1020, "validation": 1020, "test": 6149}, 102),
    "sun397": Repository({"train": 76128, "validation": 10875, "test": 21750}, 397, shards=3),
    "patch_camelyon": Repository({"train": 262144, "validation": 32768, "test": 32768}, 2),
    "eurosat": Repository({"train": 27000}, 10),
    "resisc45": Repository({"train": 31500}, 45),
    "clevr": Repository({"train": 70000, "test": 15000}, 8, "label_count", more={"label_distance": 6}),
    "dmlab": Repository({"train": 65550, "validation": 22628, "test": 22735}, 6),
    "dsprites": Repository(
        {"train": 737280}, 16, "label_x_position_16", more={"label_orientation_16": 16, "label_shape": 3}
    ),
    "kitti": Repository({"train": 6347, "validation": 423, "test": 711}, 4, "label_distance"),
    "smallnorb": Repository({"train": 24300, "test": 24300}, 18, "label_azimuth", more={"label_elevation": 9}),
}
REPOSITORIES: dict[str, Repository] = {
    "uoft-cs/cifar10": Repository(
        {"train": 50000, "test": 10000}, 10, image="img", names=CIFAR10, folder="plain_text", task="cifar10"
    ),
    "uoft-cs/cifar100": Repository(
        {"train": 50000, "test": 10000},
        100,
        "fine_label",
        "img",
        more={"coarse_label": 20},
        folder="cifar100",
        task="cifar100",
    ),
    "timm/oxford-iiit-pet": Repository(
        {"train": 3680, "test": 3669},
        37,
        names=tuple(f"breed_{n:02}" for n in range(37)),
        key="image_id",
        suffix="jpg",
        task="pets",
    ),
    "ufldl-stanford/svhn": Repository(
        {"train": 73257, "test": 26032, "extra": 1000}, 10, folder="cropped_digits", readme=SVHN, task="vtab/svhn"
    ),
    "clip-benchmark/wds_vtab-diabetic_retinopathy": Repository(
        {"train": 1200, "test": 42670}, 5, "cls", "webp", suffix="webp", shards=12, webdataset=True
    ),
    **{f"dpdl-benchmark/{name}": repository for name, repository in DPDL.items()},
}


def make(root: Path, name: str, repository: Repository | None = None) -> Path:
    """Write the repository ``name``, or one of a test's own, below ``root/datasets``."""
    repository, place = repository or REPOSITORIES[name], root / "datasets" / name
    for number, (split, count) in enumerate(repository.splits.items()):
        write = _tars if repository.webdataset else _parquet
        write(place, repository, split, cycled(repository.classes, count, number))
    if repository.readme:
        (place / "README.md").write_text(repository.readme, encoding="utf-8")
    return place


def _parquet(place: Path, repository: Repository, split: str, labels: np.ndarray) -> None:
    import datasets

    count = len(labels)
    variants = np.arange(count) % A_CLASS
    pool = [image(colour, variant, repository.suffix) for colour in range(POOL) for variant in range(A_CLASS)]
    numbers = (labels % POOL) * A_CLASS + variants
    if repository.task:
        large = resized.looked_at(count)
        numbers[large] = len(pool) + labels[large] % POOL
        pool += [image(colour, 0, repository.suffix, pixels_of(repository.task)) for colour in range(POOL)]
    contents = pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int32()), pa.array(pool, pa.binary()))
    images = pa.StructArray.from_arrays(
        [contents.cast(pa.binary()), pa.nulls(count, pa.string())], names=["bytes", "path"]
    )
    columns: dict[str, pa.Array] = {repository.image: images, repository.label: pa.array(labels)}
    for column, classes in repository.more.items():
        columns[column] = pa.array(cycled(classes, count, len(column)))
    if repository.key:
        columns[repository.key] = pa.array([f"{split}_{row}" for row in range(count)])
    features = datasets.Features({name: datasets.Value("int64") for name in columns})
    features[repository.image] = datasets.Image()
    if repository.names:
        features[repository.label] = datasets.ClassLabel(names=list(repository.names))
    if repository.key:
        features[repository.key] = datasets.Value("string")
    told = {"huggingface": json.dumps({"info": {"features": features.to_dict()}})}
    table = pa.table(columns).replace_schema_metadata(told)
    folder = place / repository.folder
    folder.mkdir(parents=True, exist_ok=True)
    shards = repository.shards if split == "train" else 1
    for shard in range(shards):
        start, stop = (number * count // shards for number in (shard, shard + 1))
        file = folder / f"{split}-{shard:05}-of-{shards:05}.parquet"
        pq.write_table(table.slice(start, stop - start), file, compression="zstd")


def _tars(place: Path, repository: Repository, split: str, labels: np.ndarray) -> None:
    folder = place / split
    folder.mkdir(parents=True)
    shards = repository.shards
    for shard in range(shards):
        with tarfile.open(folder / f"{shard}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for row in range(shard, len(labels), shards):
                label = int(labels[row])
                content = image(label % POOL, row % A_CLASS, repository.suffix)
                for suffix, body in ((repository.suffix, content), ("cls", str(label).encode())):
                    member = tarfile.TarInfo(f"s{row:07}.{suffix}")
                    member.size = len(body)
                    archive.addfile(member, io.BytesIO(body))
    (folder / "nshards.txt").write_text(str(shards), encoding="utf-8")
    (place / "classnames.txt").write_text("\n".join(f"grade {n}" for n in range(repository.classes)), encoding="utf-8")
