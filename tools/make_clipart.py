"""Build the embedded image set "clipart" from Debian's package openclipart-png.

Writes images.zip, images.csv and LICENSE: 64-pixel drawings in classes taken from the package's folders, split so
that neither a near-duplicate nor a variant of a drawing is ever on two sides. Without arguments it downloads the
package with apt-get; `--package` takes a downloaded one, `--root` its unpacked folder usr/share/openclipart/png.
The same package, Pillow and libwebp give the same bytes.
"""

import argparse
import csv
import io
import re
import subprocess
import tempfile
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from clipart_classes import CLASSES
from clipart_likeness import (
    COLOURS,
    NEAR_DUPLICATE,
    SAME_SHAPE,
    SIDE,
    Drawing,
    ink_distances,
    outline_similarities,
    read_images,
    variant_groups,
    without_duplicates,
)
from PIL import Image

OUTPUT = Path(__file__).resolve().parent.parent / "mixer_bench" / "embedded" / "clipart"
PACKAGE = "openclipart-png"
PACKAGE_VERSION = "1:0.18+dfsg-19"
IMAGES_IN_PACKAGE = Path("usr/share/openclipart/png")

SPLITS = ("train", "val", "test")
TRAIN, VAL = 20, 5  # images of every class: twice a 10-shot draw, so that draws by different seeds differ
MIN_TEST, MAX_TEST = 15, 29  # the cap balances the classes and was chosen to fill MAX_BYTES
GROUP_LIMIT = 3  # most images of one group of variants, so that no class is many colours of one drawing
SEED = 20  # of the draw of images and splits
MAX_BYTES = 1_500_000  # what the zip and the table may take together in the installed package
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold; fixed, so that a second run gives the same bytes

LICENSE = f"""Clip art, 64 pixels, {{images}} drawings in {{classes}} classes

The drawings come from the Open Clip Art Library (http://www.openclipart.org), release 0.18, by way of Debian's package
{PACKAGE}, version {PACKAGE_VERSION}. The column "source" of images.csv names each one's file in that package, below
/{IMAGES_IN_PACKAGE}.

The drawings are in the public domain. The package's copyright file (/usr/share/doc/{PACKAGE}/copyright) gives the
Creative Commons Public Domain Dedication; its essential sentence is:

    The person or persons who have associated work with this document (the "Dedicator" or "Certifier") hereby either
    (a) certifies that, to the best of his knowledge, the work of authorship identified is in the public domain of the
    country from which the work is published, or (b) hereby dedicates whatever copyright the dedicators holds in the
    work of authorship identified below (the "Work") to the public domain.

What was changed: the drawings were put on white, cropped to what is drawn, padded to a square, resized to 64x64 pixels,
reduced to {COLOURS} colours, and encoded as lossless WebP. Duplicates were left out. Classes and splits are new.
"""


def choose(groups: list[list[int]], rng: np.random.Generator) -> list[list[int]]:
    """Shuffle the groups of a class and cut each to a few images: one if that gives enough images, else more."""
    shuffled = [rng.permutation(groups[place]).tolist() for place in rng.permutation(len(groups))]
    for limit in range(1, GROUP_LIMIT):
        if sum(len(group[:limit]) for group in shuffled) >= TRAIN + VAL + MAX_TEST:
            return [group[:limit] for group in shuffled]
    return [group[:GROUP_LIMIT] for group in shuffled]


def split_groups(groups: list[list[int]]) -> dict[str, list[int]]:
    """Fill validation, training and test in turn with whole groups, none beyond its size."""
    room = {"val": VAL, "train": TRAIN, "test": MAX_TEST}
    chosen: dict[str, list[int]] = {split: [] for split in SPLITS}
    for group in groups:
        split = next((name for name, left in room.items() if len(group) <= left), None)
        if split:
            chosen[split] += group
            room[split] -= len(group)
    return chosen


def split_images(images: list[Drawing]) -> tuple[list[tuple[str, Drawing]], int]:
    """Choose and split the images of every class; also return how many groups of variants there are.

    Raises:
        ValueError: if a class has too few images.
    """
    rng = np.random.default_rng(SEED)
    groups = variant_groups(images)
    # A group that spans classes is left out, like a duplicate that does: its label is in doubt.
    whole = [group for group in groups if len({images[row].label for row in group}) == 1]
    rows: list[tuple[str, Drawing]] = []
    for label in CLASSES:
        chosen = split_groups(choose([group for group in whole if images[group[0]].label == label], rng))
        counts = {split: len(chosen[split]) for split in SPLITS}
        if counts["train"] < TRAIN or counts["val"] < VAL or counts["test"] < MIN_TEST:
            message = f"class {label} has only {counts}: give it more folders in clipart_classes.py or remove it there"
            raise ValueError(message)
        rows += [(split, images[row]) for split in SPLITS for row in chosen[split]]
    return sorted(rows, key=lambda row: (SPLITS.index(row[0]), row[1].label, row[1].source)), len(groups)


def entry_names(rows: list[tuple[str, Drawing]]) -> list[str]:
    """Name each image in the zip after its class and its file; a name used before in the class gets a number."""
    used: Counter[str] = Counter()
    names = []
    for _, image in rows:
        stem = re.sub(r"[^A-Za-z0-9-]+", "_", PurePosixPath(image.source).stem).strip("_")
        base = f"{image.label}/{stem}"
        # Compared in lower case, so that the zip can be unpacked where file names ignore case.
        used[base.lower()] += 1
        count = used[base.lower()]
        names.append(f"{base}.webp" if count == 1 else f"{base}-copy{count}.webp")
    return names


def write_images(rows: list[tuple[str, Drawing]], names: list[str], output: Path) -> None:
    """Write images.zip, images.csv and LICENSE."""
    output.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(output / "images.zip", "w", zipfile.ZIP_STORED) as archive:
        for name, (_, image) in sorted(zip(names, rows, strict=True), key=lambda item: item[0]):
            encoded = io.BytesIO()
            Image.fromarray(image.pixels).save(encoded, "WEBP", lossless=True, quality=100, method=6)
            entry = zipfile.ZipInfo(name, ZIP_TIME)
            entry.create_system = 3  # Unix, whatever system this runs on: the byte would differ otherwise
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, encoded.getvalue())
    with (output / "images.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(("split", "class", "file", "source"))
        lines = [
            (SPLITS.index(split), image.label, name, image.source)
            for name, (split, image) in zip(names, rows, strict=True)
        ]
        table.writerows((SPLITS[place], *rest) for place, *rest in sorted(lines))
    text = LICENSE.format(images=len(rows), classes=len(CLASSES))
    (output / "LICENSE").write_text(text, encoding="utf-8")


def check(output: Path) -> int:
    """Read the written set back, check what it promises, and return its bytes.

    Raises:
        ValueError: if an image is damaged, too like one of another split, or if the set is too large.
    """
    with (output / "images.csv").open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    with zipfile.ZipFile(output / "images.zip") as archive:
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(line["file"])))) for line in table])
    if pixels.shape != (len(table), SIDE, SIDE, 3):
        message = f"the images have the shape {pixels.shape}, not {SIDE}x{SIDE} RGB: correct `render`"
        raise ValueError(message)
    splits = np.array([line["split"] for line in table])
    apart = splits[:, None] != splits[None, :]
    distance = float(ink_distances(pixels)[apart].min())
    likeness = float(outline_similarities(pixels)[apart].max())
    print(f"closest images of different splits: ink distance {distance:.3f}, outline correlation {likeness:.3f}")
    if distance < NEAR_DUPLICATE or likeness > SAME_SHAPE:
        message = "two splits share a drawing: correct `without_duplicates` or `variant_groups`"
        raise ValueError(message)
    size = sum((output / name).stat().st_size for name in ("images.zip", "images.csv"))
    if size > MAX_BYTES:
        message = f"images.zip and images.csv take {size} bytes, more than {MAX_BYTES}: lower MAX_TEST or COLOURS"
        raise ValueError(message)
    return size


def build(root: Path, output: Path) -> None:
    """Build the set from the package's unpacked png folder and print a summary.

    Raises:
        ValueError: if the folder holds no images of a class.
    """
    images = list(read_images(root))
    if not images:
        message = f"no drawings of any class in {root}: name the package's folder {IMAGES_IN_PACKAGE}"
        raise ValueError(message)
    kept, dropped = without_duplicates(images)
    rows, groups = split_images(kept)
    write_images(rows, entry_names(rows), output)
    counts = Counter((image.label, split) for split, image in rows)
    for label in CLASSES:
        print(f"{label:20}" + "".join(f"{counts[label, split]:6}" for split in SPLITS))
    totals = Counter(split for split, _ in rows)
    print(f"{'total':20}" + "".join(f"{totals[split]:6}" for split in SPLITS))
    print(f"{len(images)} drawings read, {len(kept)} without duplicates, in {groups} groups, {len(rows)} chosen")
    print("duplicates dropped: " + ", ".join(f"{count} {kind}" for kind, count in sorted(dropped.items())))
    print(f"{check(output)} bytes of at most {MAX_BYTES}")


def main() -> None:
    """Read the command line and build the set."""
    parser = argparse.ArgumentParser(description="Build the embedded image set clipart.")
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--package", type=Path, metavar="DEB", help=f"a downloaded {PACKAGE} package")
    origin.add_argument("--root", type=Path, metavar="DIR", help=f"the unpacked folder {IMAGES_IN_PACKAGE}")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR", help="default: %(default)s")
    options = parser.parse_args()
    if options.root:
        build(options.root, options.output)
        return
    with tempfile.TemporaryDirectory() as folder:
        package = options.package
        if package is None:
            subprocess.run(["apt-get", "download", f"{PACKAGE}={PACKAGE_VERSION}"], cwd=folder, check=True)
            package = next(Path(folder).glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(package), f"{folder}/unpacked"], check=True)
        build(Path(folder) / "unpacked" / IMAGES_IN_PACKAGE, options.output)


if __name__ == "__main__":
    main()
