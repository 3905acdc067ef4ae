"""Original files as ``torchvision.datasets`` reads them: file names and file order are what TFDS's keys are made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixer_bench.data import vtab_labels
from mixer_bench.data.readers.folder import Files, stamp_of
from mixer_bench.data.rows import Read, Rows, Stored
from mixer_bench.errors import Absent, DataError
from mixer_bench.system import network
from mixer_bench.task.sources import TorchvisionSource

FILE_LISTS = ("_image_files", "_images")  # where its classes keep the files' places
CHANNELS = 3
LABEL_LISTS = ("_labels", "targets", "labels")


class Arrays(Stored):
    """Images that are stored as arrays, uint8 [N, H, W, 3]."""

    def __init__(self, array: Any, split: str) -> None:
        """Take anything that gives one image for one position."""
        self._array, self._split = array, split

    def __len__(self) -> int:
        """How many there are."""
        return len(self._array)

    def name(self, position: int) -> str:
        """Split and place in the file."""
        return f"{self._split}/{position}"

    def content(self, position: int) -> bytes:
        """The pixels, after their shape."""
        try:
            image = np.ascontiguousarray(self._array[position])
        except OSError as error:  # of an HDF5 file that breaks off
            raise DataError(f"{self.name(position)} cannot be read ({error}); fetch the file again") from None
        return np.array(image.shape, dtype="<i4").tobytes() + image.tobytes()

    def decode(self, content: bytes, position: int) -> np.ndarray:
        """The pixels again."""
        del position
        shape = np.frombuffer(content[:12], dtype="<i4")
        return np.frombuffer(content[12:], dtype=np.uint8).reshape(shape)


def read(source: TorchvisionSource, data_dir: Path, *, download: bool = False) -> Read:
    """The splits of ``source``, whose files lie below ``data_dir`` as torchvision puts them.

    Args:
        source: the class and what it is called with.
        data_dir: torchvision's ``root``.
        download: fetch what is missing from where the data set's makers keep it.

    Raises:
        Absent: the files are not there.
        DataError: they are damaged, or torchvision lacks something to read them.
    """
    place = data_dir / source.place
    if not (download or place.exists()):
        raise Absent(f"no {place}; mixer-bench prepare --source torchvision fetches it")
    # Imported here: torch takes seconds to load and only this kind of source needs it.
    from torchvision import datasets

    kind = getattr(datasets, source.dataset, None)
    if not isinstance(kind, type):
        raise DataError(f"torchvision.datasets has no {source.dataset!r}")
    splits, names = {}, None
    for split, arguments in source.arguments.items():
        try:
            found = kind(root=str(data_dir), **arguments, **({"download": True} if download else {}))
            splits[split] = _rows(found, split, data_dir, source.target)
        except DataError:
            raise
        except Exception as error:  # noqa: BLE001
            # Its classes raise whatever their readers raise; all of it means that these files cannot be used.
            if "h5py" in str(error):
                raise DataError(f"{source.dataset}: its files need h5py; pip install h5py") from None
            what = "cannot be fetched" if download and not place.exists() else f"{place} is damaged or not whole"
            raise DataError(
                f"{what} ({type(error).__name__}: {network.first_line(error)}); remove it and fetch it again, "
                "or name another kind of source with --source"
            ) from None
        names = getattr(found, "classes", None) or names
    return Read(splits, tuple(names) if names else None, f"torchvision {source.dataset}, original files")


def _rows(found: Any, split: str, root: Path, target: str) -> Rows:
    """The dataset's own lists, without going through its items: an item decodes its image."""
    if type(found).__name__ == "PCAM":
        return _patches(found, split)
    files = next((getattr(found, name) for name in FILE_LISTS if hasattr(found, name)), None)
    if files is None and hasattr(found, "samples"):
        files = [file for file, _ in found.samples]
    given = next((getattr(found, name) for name in LABEL_LISTS if hasattr(found, name)), None)
    if given is None:
        raise DataError(f"torchvision's {type(found).__name__} has no list of labels")
    if files is None:
        pixels = found.data if found.data.shape[-1] == CHANNELS else found.data.transpose(0, 2, 3, 1)  # SVHN: NCHW
        return Rows.all(Arrays(pixels, split), given)
    if target == "closest_object_distance":
        given = _clevr_distances(found, files)
    names = [Path(file).relative_to(root).as_posix() for file in files]
    return Rows.all(Files(root, names, stamp_of(root, names)), given)


def _clevr_distances(found: Any, files: Sequence[Path]) -> list[int]:
    scenes = json.loads((found._data_folder / "scenes" / f"CLEVR_{found._split}_scenes.json").read_bytes())["scenes"]
    depths = {scene["image_filename"]: [thing["pixel_coords"][2] for thing in scene["objects"]] for scene in scenes}
    return [vtab_labels.clevr_distance(depths[file.name]) for file in files]


def _patches(found: Any, split: str) -> Rows:
    """PatchCamelyon's HDF5 files: opened once, since torchvision opens two an image."""
    images, targets = (found._base_folder / found._FILES[found._split][name][0] for name in ("images", "targets"))
    return Rows.all(Arrays(found.h5py.File(images)["x"], split), found.h5py.File(targets)["y"][:, 0, 0, 0])
