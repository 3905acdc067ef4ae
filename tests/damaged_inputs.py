"""Files that users write or fetch, each made sound in a folder and read as the commands read it."""

from __future__ import annotations

import functools
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mixer_bench.data import loading
from mixer_bench.data.examples import Examples
from mixer_bench.data.names import chosen_tasks
from mixer_bench.data.readers import files
from mixer_bench.data.rows import Rows
from mixer_bench.errors import DataError
from mixer_bench.models import checkpoints, names, networks, origin, weights, zoo
from mixer_bench.runs.options import Options
from mixer_bench.system import config_file
from mixer_bench.system.paths import EMBEDDED
from mixer_bench.task import task as task_module
from mixer_bench.task.sources import Vtab1kFolderSource
from mixer_bench.task.task import TASKS
from tests.damage import Kind
from tests.damaged_results import A_CLASS, CLASSES, cached, images

# --- what users write


def _own_task(folder: Path) -> str:
    return task_module.load_tasks(folder)["own"].model_dump_json()


def task_file(folder: Path) -> Kind:
    file = folder / "own.toml"
    text = (TASKS / "vtab/pets.toml").read_text()
    file.write_text(text)
    return Kind("task file", file, functools.partial(_own_task, folder))


def cards(folder: Path) -> Kind:
    file = folder / "cards.toml"
    whole = zoo.CARDS.read_text()
    file.write_text(whole[: whole.index("\n[", whole.index("\n[", 3_000) + 2) + 1])
    return Kind("cards", file, lambda: repr(zoo.read_cards(file)))


def _config(name: str, text: str) -> Callable[[Path], Kind]:
    def make(folder: Path) -> Kind:
        file = folder / name
        file.write_text(text)
        return Kind(name, file, lambda: repr(config_file.resolved(Options, {}, file)))

    return make


CONFIG = {
    "config.toml": 'task = ["digits", "clipart"]\nmodel = "pixels"\nseeds = 3\n[set]\nshots = [1, 5]\nl2 = 1.5\n',
    "config.yaml": "task: [digits, clipart]\nmodel: pixels\nseeds: 3\nlimit: 100\nset:\n  shots: &a [1, 5]\n  k: *a\n",
}


def _task(name: str, file: Path) -> Callable[[], object]:
    def read() -> object:
        (task,) = chosen_tasks([name])
        return loading.load(task).fingerprint

    return read


def list_csv(folder: Path) -> Kind:
    cached(folder)
    images(folder)
    file = folder / "list.csv"
    rows = [f"{name}/{index}.png,{name}" for name in CLASSES for index in range(A_CLASS)]
    file.write_text("\n".join(["path,label", *rows]) + "\n")
    return Kind("list.csv", file, _task(str(file), file))


def list_parquet(folder: Path) -> Kind:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cached(folder)
    images(folder)
    file = folder / "list.parquet"
    paths = [f"{name}/{index}.png" for name in CLASSES for index in range(A_CLASS)]
    pq.write_table(pa.table({"path": paths, "label": [path.partition("/")[0] for path in paths]}), file)
    return Kind("list.parquet", file, _task(str(file), file))


def _contents() -> list[tuple[bytes, int]]:
    contents = []
    for label in range(3):
        for index in range(A_CLASS):
            content = io.BytesIO()
            Image.new("RGB", (5, 4), (60 * label + index,) * 3).save(content, "PNG")
            contents.append((content.getvalue(), label))
    return contents


def hub_parquet(folder: Path) -> Kind:
    import pyarrow as pa
    import pyarrow.parquet as pq

    cached(folder)
    file = folder / "set/train.parquet"
    file.parent.mkdir()
    rows = [{"bytes": content, "path": None} for content, _ in _contents()]
    pq.write_table(pa.table({"image": rows, "label": [label for _, label in _contents()]}), file)
    return Kind("hub parquet", file, _task(f"hf:{file.parent}", file), named="set")


def hub_tar(folder: Path) -> Kind:
    cached(folder)
    file = folder / "set/train.tar"
    file.parent.mkdir()
    with tarfile.open(file, "w") as archive:
        for number, (content, label) in enumerate(_contents()):
            for suffix, part in (("png", content), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{number:03}.{suffix}")
                member.size = len(part)
                archive.addfile(member, io.BytesIO(part))
    image, label = "png", "cls"

    def read() -> object:
        from mixer_bench.data.names import Reading

        (task,) = chosen_tasks([f"hf:{file.parent}"], reading=Reading(image, label))
        return loading.load(task).fingerprint

    return Kind("hub tar", file, read, named="set")


def _vtab(folder: Path) -> Path:
    root = folder / "vtab-1k/pets"
    for name in ("train800", "val200", "test"):
        (root / f"images/{name}").mkdir(parents=True)
        lines = []
        for number, (content, label) in enumerate(_contents()):
            (root / f"images/{name}/{number:06}.jpg").write_bytes(content)
            lines.append(f"images/{name}/{number:06}.jpg {label}\n")
        (root / f"{name}.txt").write_text("".join(lines))
    return root


def _read_vtab(folder: Path, fault_in: str) -> Callable[[], object]:
    source = Vtab1kFolderSource(kind="vtab1k_folder", folder="pets")

    def read() -> object:
        try:
            held = loading.read(source, folder)
            return [Examples.of(rows, upright=False, anew=True).fingerprint for rows in held.splits.values()]
        except OSError as error:  # as ``loading.named`` does
            raise DataError(f"{error.filename}: {error.strerror}") from None

    return read


def vtab_list(folder: Path) -> Kind:
    cached(folder)
    return Kind("vtab list", _vtab(folder) / "test.txt", _read_vtab(folder, ""))


def vtab_zip(folder: Path) -> Kind:
    cached(folder)
    root, file = _vtab(folder / "made"), folder / "vtab-1k.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in sorted(root.rglob("*.*")):
            archive.write(member, member.relative_to(folder / "made"))
    return Kind("vtab zip", file, _read_vtab(folder, ""), checked=True)


# --- images and weights


def _image(suffix: str, **options: Any) -> Callable[[Path], Kind]:
    def make(folder: Path) -> Kind:
        noise = np.random.default_rng(0).integers(0, 255, (24, 31, 3), dtype=np.uint8)
        image, file = Image.fromarray(noise), folder / f"image{suffix}"
        exif = Image.Exif()
        exif[0x0112] = 6
        more = {"exif": exif} if suffix in (".jpg", ".png", ".webp", ".tif", ".avif") else {}
        image.save(file, **{**options, **more})

        def read() -> object:
            rows = Rows.all(files.stored(folder, [file.name]), [0])
            pixels = rows.stored.decode(rows.content(0), rows.place(0), True)
            return pixels.shape, pixels.tobytes()

        return Kind(f"image {suffix}", file, read)

    return make


def _frames(suffix: str) -> Callable[[Path], Kind]:
    def make(folder: Path) -> Kind:
        kind = _image(suffix)(folder)
        frames = [Image.new("P", (9, 7), number) for number in range(3)]
        frames[0].save(kind.file, save_all=True, append_images=frames[1:], transparency=0)
        return kind

    return make


def _weights(suffix: str) -> Callable[[Path], Kind]:
    def make(folder: Path) -> Kind:
        torch.manual_seed(0)
        state = {"stem.weight": torch.randn(3, 4), "norm.bias": torch.randn(4), "norm.count": torch.tensor(3)}
        file = folder / f"weights{suffix}"
        if suffix == ".safetensors":
            from safetensors.torch import save_file

            save_file(state, file)
        elif suffix == ".npz":
            np.savez(file, **{"cls": np.ones((1, 1, 4), np.float32), "head/kernel": np.ones((4, 3), np.float32)})
        else:
            torch.save({"state_dict": state, "epoch": 3}, file, _use_new_zipfile_serialization=suffix != ".tar")

        def read() -> object:
            card = names.card(f"file:{file}?arch=mixer_nano")
            return repr(checkpoints.read(weights.place(card), card.key))

        return Kind(f"weights {suffix}", file, read)

    return make


def model_config(folder: Path) -> Kind:
    import timm

    config = {
        "architecture": "resnet10t",
        "num_classes": 7,
        "num_features": 512,
        "model_args": {"drop_rate": 0.0, "stem_width": 32},
        "pretrained_cfg": {
            "input_size": [3, 64, 64],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
        },
    }
    model = folder / "own"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(config, indent=1))
    torch.manual_seed(0)
    checkpoints.write(timm.create_model("resnet10t", num_classes=7), model / "model.safetensors", torch.float16)

    def read() -> object:
        card = names.card(f"local-dir:{model}")
        networks.body(card, str)
        return card.model_dump_json()

    return Kind("config.json of a model", model / "config.json", read, named="own|model.safetensors")


def pretraining(folder: Path) -> Kind:
    file = folder / "mixer_nano.json"
    file.write_bytes((EMBEDDED / "mixer_nano.json").read_bytes())
    return Kind("record of a pre-training", file, lambda: origin.read_pretraining(file).model_dump_json(), checked=True)


KINDS: Mapping[str, Callable[[Path], Kind]] = {
    "task": task_file,
    "cards": cards,
    **{name: _config(name, text) for name, text in CONFIG.items()},
    "list.csv": list_csv,
    "list.parquet": list_parquet,
    "hub.parquet": hub_parquet,
    "hub.tar": hub_tar,
    "vtab.txt": vtab_list,
    "vtab.zip": vtab_zip,
    "jpg": _image(".jpg"),
    "png": _image(".png"),
    "webp": _image(".webp"),
    "bmp": _image(".bmp"),
    "tif": _image(".tif", compression="tiff_lzw"),
    "ppm": _image(".ppm"),
    "avif": _image(".avif"),
    "jp2": _image(".jp2"),
    "gif": _frames(".gif"),
    "apng": _frames(".apng"),
    "safetensors": _weights(".safetensors"),
    "pth": _weights(".pth"),
    "tar": _weights(".tar"),
    "npz": _weights(".npz"),
    "config.json": model_config,
    "pretraining": pretraining,
}
