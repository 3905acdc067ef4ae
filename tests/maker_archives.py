"""The makers' archives in their own layouts, with a few made-up records, and a server that gives them on 127.0.0.1."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import io
import re
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from mixer_bench.data import archives
from tests.hub_repositories import image

Files = dict[str, bytes]  # names of archives and what they are


def tarred(members: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


# --- the data sets


def cifar100(count: Mapping[str, int]) -> tuple[Files, dict[str, np.ndarray]]:
    """A record: coarse label, fine label, planes of red, green and blue; gives the images [N, 32, 32, 3] as well."""
    members, shown = {}, {}
    for split, number in count.items():
        pixels = np.random.default_rng(number).integers(0, 256, (number, 3, 32, 32), dtype=np.uint8)
        labels = np.stack([np.full(number, 7), np.arange(number) % 100], 1).astype(np.uint8)
        records = np.concatenate([labels, pixels.reshape(number, -1)], 1)
        members[f"cifar-100-binary/{split}.bin"] = records.tobytes()
        shown[split] = pixels.transpose(0, 2, 3, 1)
    return {"cifar-100-binary.tar.gz": tarred(members)}, shown


def norb(values: np.ndarray) -> bytes:
    """NORB's format: magic, number of dimensions, at least three of them, values; all little-endian."""
    magic = {"uint8": 0x1E3D4C55, "int32": 0x1E3D4C54}[str(values.dtype)]
    shape = [*values.shape, *[1] * (3 - values.ndim)]
    return struct.pack(f"<{2 + len(shape)}i", magic, values.ndim, *shape) + values.tobytes()


def smallnorb(count: int) -> tuple[Files, dict[str, np.ndarray]]:
    files, shown = {}, {}
    for number, (split, stem) in enumerate(
        {"train": "46789x9x18x6x2x96x96-training", "test": "01235x9x18x6x2x96x96-testing"}.items()
    ):
        pairs = np.random.default_rng(number).integers(0, 256, (count, 2, 96, 96), dtype=np.uint8)
        rows = np.arange(count, dtype=np.int32)
        told = np.stack([rows % 10, rows % 9, 2 * (rows % 18), rows % 6], 1).astype(np.int32)
        for kind, values in (("dat", pairs), ("info", told)):
            files[f"smallnorb-5x{stem}-{kind}.mat.gz"] = gzip.compress(norb(values), 1)
        shown[split] = pairs[:, 0]
    return files, shown


def dsprites(count: int, file: Path) -> tuple[Files, np.ndarray]:
    import h5py

    images = np.random.default_rng(0).integers(0, 2, (count, 64, 64), dtype=np.uint8)
    rows = np.arange(count)
    classes = np.stack([rows * 0, rows % 3, rows % 6, rows % 40, rows % 32, rows // 5 % 32], 1)
    with h5py.File(file, "w") as opened:
        opened["imgs"], opened["latents/classes"] = images, classes
    return {"dsprites_ndarray_co1sh3sc6or40x32y32_64x64.hdf5": file.read_bytes()}, images


def record(data: bytes) -> bytes:
    """A record of a TFRecord file."""

    def masked(part: bytes) -> int:
        checksum = google_crc32c.value(part)
        return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF

    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def _field(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def example(image: bytes, filename: str, label: int) -> bytes:
    """A ``tf.train.Example`` with these three features."""
    values = {
        "image": _field(1, _field(1, image)),
        "filename": _field(1, _field(1, filename.encode())),
        "label": _field(3, _field(1, bytes([label]))),
    }
    entries = (_field(1, _field(1, key.encode()) + _field(2, value)) for key, value in values.items())
    return _field(1, b"".join(entries))


def dmlab(count: Mapping[str, int]) -> Files:
    """Shards at the top of the archive, there is no folder."""
    members = {}
    for split, number in count.items():
        records = [record(example(image(row % 4, row % 5, "jpg"), f"{split}_{row}", row % 6)) for row in range(number)]
        for shard in range(2):
            members[f"dmlab-{split}.tfrecord-{shard:05d}-of-00002"] = b"".join(records[shard::2])
    return {"dmlab.tar.gz": tarred(members)}


def kitti(depths: list[float | None], videos: list[str]) -> Files:
    """Of each image the depth of a car; None for none, and then a pedestrian who is near."""
    labels = {}
    for number, depth in enumerate(depths):
        kinds = [("Pedestrian", 3.0), ("DontCare", -1000.0)] + ([] if depth is None else [("Car", depth)])
        rows = [f"{kind} 0.00 0 -1.5 1 2 3 4 1.5 1.6 3.7 0.5 1.7 {z:.2f} 1.6" for kind, z in kinds]
        labels[f"training/label_2/{number:06d}.txt"] = ("\n".join(rows) + "\n").encode()
    shown = {
        f"training/image_2/{number:06d}.png": image(number % 4, number % 5, "png") for number in range(len(depths))
    }
    lines = [f"2011_09_26 {video} {number:010d}" for number, video in enumerate(videos)]
    shuffled = np.random.default_rng(3).permutation(len(videos))
    mapping = "".join(f"{lines[place]}\n" for place in shuffled)
    rand = ",".join(str(place + 1) for place in np.argsort(shuffled))
    return {
        "data_object_image_2.zip": zipped(shown),
        "data_object_label_2.zip": zipped(labels),
        "devkit_object.zip": zipped(
            {"mapping/train_rand.txt": rand.encode(), "mapping/train_mapping.txt": mapping.encode()}
        ),
    }


def eurosat(names: list[str]) -> Files:
    return {"EuroSAT.zip": zipped({f"2750/{name}": image(n % 4, n % 5, "jpg") for n, name in enumerate(names)})}


def caltech101(folders: Mapping[str, Mapping[str, bytes]]) -> Files:
    """Class folders in a tar in a zip; each holds files by name."""
    held = {
        f"101_ObjectCategories/{name}/{file}": content for name, of in folders.items() for file, content in of.items()
    }
    inner = {"caltech-101/101_ObjectCategories.tar.gz": tarred(held)}
    return {"caltech-101.zip": zipped({**inner, "__MACOSX/caltech-101/._101_ObjectCategories.tar.gz": b"x"})}


def sun397(lists: Mapping[str, list[str]], classes: list[str], contents: Mapping[str, bytes]) -> Files:
    """``lists`` by tr, va and te: lines such as ``/a/abbey/sun_x.jpg``."""
    files = {
        f"sun397_tfds_{name}.txt": "".join(f"{line}\n" for line in lines).encode() for name, lines in lists.items()
    }
    files["sun397_labels.txt"] = "".join(f"{name}\n" for name in classes).encode()
    return {"SUN397.tar.gz": tarred({f"SUN397{line}": content for line, content in contents.items()}), **files}


# --- the server


class Server(http.server.ThreadingHTTPServer):
    """Gives files by name; faults are set on it."""

    daemon_threads = True

    def __init__(self, files: Files) -> None:
        self.files = files
        self.broken_at: dict[str, int] = {}  # name -> bytes after which the connection breaks, once
        self.requests: list[tuple[str, str]] = []  # name, range
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, asked = self.path.removeprefix("/"), self.headers.get("Range") or ""
        name = path if path in self.server.files else path.rpartition("/")[2]
        self.server.requests.append((name, asked))
        if name not in self.server.files:
            self.send_error(404)
            return
        content, begin = self.server.files[name], re.fullmatch(r"bytes=(\d+)-", asked)
        start = int(begin[1]) if begin else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = self.server.broken_at.pop(name, None)
        self.wfile.write(content[start:end])
        if end is not None:
            self.close_connection = True


@contextlib.contextmanager
def serving(files: Files) -> Iterator[Server]:
    with Server(files) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


def table_of(name: str, server: Server, **changed: Any) -> archives.Originals:
    """What ``originals.toml`` says of a data set, for the files of ``server``: their sizes, SHA-256 and addresses."""
    real = archives.of(name)

    def made(archive: archives.Archive) -> archives.Archive:
        file = (archive.name or archive.there).rpartition("/")[2]
        content = server.files[file]
        digest = hashlib.sha256(content).hexdigest()
        values = {"bytes": len(content), "sha256": digest, "unpacked": None, "addresses": (server.address + file,)}
        return archive.model_copy(update={**values, **changed})

    return real.model_copy(update={"archive": tuple(made(archive) for archive in real.archive)})
