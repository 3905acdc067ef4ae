"""Data sets in the hub's layout (parquet or webdataset files), read with ``datasets``: here from a local folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mixer_bench.data.examples import Examples, sha256_of_each
from mixer_bench.data.pictures import decode
from mixer_bench.errors import DataError


def read_splits(folder: Path, image: str, label: str) -> dict[str, Examples]:
    """Every split of the data set in ``folder``, pictures decoded, in the files' own order.

    Args:
        folder: holds what a hub repository holds, e.g. ``data/train-00000-of-00001.parquet``.
        image: name of the picture column.
        label: name of the class column.

    Raises:
        DataError: nothing readable there, a column missing, or a picture that cannot be decoded.
    """
    # Imported here: `datasets` takes seconds to load and only this kind of source needs it.
    import datasets  # noqa: PLC0415

    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    try:
        loaded = datasets.load_dataset(str(folder))
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        raise DataError(f"{folder}: not a data set in the hub's layout ({error})") from None
    splits = {}
    for name, table in loaded.items():
        for column in (image, label):
            if column not in table.column_names:
                raise DataError(f"{folder}: no column {column!r} in split {name!r}; it has {table.column_names}")
        try:
            contents = [bytes(row["bytes"]) for row in table.cast_column(image, datasets.Image(decode=False))[image]]
            labels = np.asarray(table[label]).astype(np.int64, casting="safe")
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{folder}: {image!r} or {label!r} of {name!r} are no pictures or classes ({error})"
            ) from None
        if labels.min(initial=0) < 0:
            raise DataError(f"{folder}: split {name!r} has examples without a label")
        names = tuple(f"{name}/{index}" for index in range(len(contents)))
        pictures = [decode(content, row) for content, row in zip(contents, names, strict=True)]
        splits[str(name)] = Examples(pictures, labels, names, sha256_of_each(contents))
    return splits
