"""Original files as ``torchvision.datasets`` reads them: file names and file order are what TFDS's keys are made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixer_bench.data import vtab_labels
from mixer_bench.data.readers import arrays, files
from mixer_bench.data.rows import Read, Rows
from mixer_bench.errors import Absent, DataError
from mixer_bench.system import network
from mixer_bench.task.sources import TorchvisionSource

FILE_LISTS = ("_image_files", "_images")  # where its classes keep the files' places
LABEL_LISTS = ("_labels", "targets", "labels")
CHANNELS = 3


def read(source: TorchvisionSource, data_dir: Path, *, download: bool = False) -> Read:
    """Return the splits of ``source``, whose files lie below ``data_dir`` as torchvision puts them.

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
            dataset: Any = kind(root=str(data_dir), **arguments, **({"download": True} if download else {}))
            splits[split] = _rows(dataset, split, data_dir, source.target)
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
        names = getattr(dataset, "classes", None) or names
    return Read(splits, tuple(names) if names else None, f"torchvision {source.dataset}, original files")


def _rows(dataset: Any, split: str, root: Path, target: str) -> Rows:
    """Return the dataset's own lists, without going through its items: an item decodes its image."""
    if type(dataset).__name__ == "PCAM":  # its HDF5 files are opened once: torchvision opens two an image
        names = dataset._FILES[dataset._split]
        images, targets = (dataset.h5py.File(dataset._base_folder / names[key][0]) for key in ("images", "targets"))
        return Rows.all(arrays.stored(images["x"].__getitem__, split), targets["y"][:, 0, 0, 0])
    images, labels = _first(dataset, FILE_LISTS), _first(dataset, LABEL_LISTS)
    if labels is None:
        raise DataError(f"torchvision's {type(dataset).__name__} has no list of labels")
    if images is None and hasattr(dataset, "samples"):
        images = [file for file, _ in dataset.samples]
    if images is None:
        pixels = dataset.data
        nhwc = pixels if pixels.shape[-1] == CHANNELS else pixels.transpose(0, 2, 3, 1)  # SVHN: NCHW
        return Rows.all(arrays.stored(nhwc.__getitem__, split), labels)
    if target == "closest_object_distance":
        scenes = json.loads((dataset._data_folder / f"scenes/CLEVR_{dataset._split}_scenes.json").read_bytes())
        depths = {scene["image_filename"]: _depths(scene) for scene in scenes["scenes"]}
        labels = [vtab_labels.clevr_distance(depths[file.name]) for file in images]
    names = [Path(file).relative_to(root).as_posix() for file in images]
    return Rows.all(files.stored(root, names, enclosed=False), labels)


def _first(dataset: Any, names: Sequence[str]) -> Any:
    lists = (getattr(dataset, name, None) for name in names)
    return next((values for values in lists if values is not None), None)


def _depths(scene: Any) -> list[float]:
    return [thing["pixel_coords"][2] for thing in scene["objects"]]
