"""Sets that TensorFlow Datasets has prepared, fetched from its public bucket, of each what a task needs.

There are no checksums of the files; what arrives is believed when each shard holds the records that dataset_info.json
says, each as its own checksum says, and all of a split are as large as it says.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mixer_bench.data import fetching
from mixer_bench.data.fetching import partial
from mixer_bench.data.readers import tfds, tfrecord
from mixer_bench.errors import Absent, DataError
from mixer_bench.system import claims, network
from mixer_bench.system.progress import ProgressLog, unheard
from mixer_bench.system.schema import Frozen
from mixer_bench.task import splits
from mixer_bench.task.sources import SplitTable, TfdsSource
from mixer_bench.task.task import SPLITS

TABLE = Path(__file__).with_name("prepared.toml")
FEATURES = "features.json"
TEXT = 1 << 26  # bytes that a description may have
UNTOLD = 1 << 40  # bytes that a shard may have where its split's are not told


class Bucket(Frozen):
    """Where prepared sets are, and the versions that may be there, the newest first."""

    address: Annotated[str, Field(pattern=r"^https?://")]
    versions: Mapping[str, tuple[str, ...]]


def bucket() -> Bucket:
    """Return what ``prepared.toml`` says."""
    return Bucket.model_validate(tomllib.loads(TABLE.read_text(encoding="utf-8")))


def fetch(source: TfdsSource, table: SplitTable, data_dir: Path) -> None:
    """Fetch into the data folder what is not there of a set; one that lies in ``TFDS_DATA_DIR`` is left as it is.

    Its dataset_info.json gets its name last: before that, no reader takes what is there for the set.

    Args:
        source: which set.
        table: names the splits that are needed.
        data_dir: it comes into ``tensorflow_datasets`` below.

    Raises:
        Absent: it is not public, or the disk is too small.
        DataError: it is not what its dataset_info.json says.
        UsageError: it has not the splits that are needed.
    """
    home = data_dir / tfds.FOLDER / source.builder
    if network.offline():
        return
    with claims.awaited(home, functools.partial(fetching.say_waiting, source.builder)):
        try:
            folder = tfds.place(source, data_dir)
        except Absent:
            folder = _described(source, home)
        if not folder.is_relative_to(home):
            return
        told = next(file for file in (folder / tfds.INFO, _begun(folder)) if file.exists())
        described = tfds.info(told)
        sizes = {split.name: sum(split.lengths) for split in described.splits}
        needed = {name for part in SPLITS for name, _ in splits.resolve(getattr(table, part), sizes)}
        _fetch_all(source, folder, [split for split in described.splits if split.name in needed])
        told.replace(folder / tfds.INFO)


def _begun(folder: Path) -> Path:
    """Return where the description of a set lies until all of it is there."""
    return folder / f".{tfds.INFO}"


def _described(source: TfdsSource, home: Path) -> Path:
    """Return the folder of the newest version of which the bucket has a description, which lies there then."""
    places = bucket()
    answers = []
    for version in places.versions.get(source.dataset, ()):
        folder = home / version
        address = f"{places.address}/{source.builder}/{version}/{tfds.INFO}"
        try:
            if not _begun(folder).exists():
                fetching.fetch([address], _begun(folder), tfds.info, TEXT, unheard)
        except Absent as absent:
            answers.append(str(absent))
        else:
            return folder
    raise Absent(f"{source.builder} is not to be had ready-made: {'; '.join(answers)}")


def _fetch_all(source: TfdsSource, folder: Path, needed: Sequence[tfds.Split]) -> None:
    address = f"{bucket().address}/{source.builder}/{folder.name}"
    total = sum(split.size for split in needed)
    files = [file for split in needed for shard in split.shards(source, folder) for file in (shard, partial(shard))]
    here = sum(file.stat().st_size for file in files if file.exists())
    fetching.check_space(source.builder, total - here, folder)
    with ProgressLog(total) as log:
        if _begun(folder).exists():
            _fetch_names(source, folder, address, log)
        for split in needed:
            _fetch_split(split, split.shards(source, folder), address, log)


def _fetch_names(source: TfdsSource, folder: Path, address: str, log: ProgressLog) -> None:
    """Fetch what tells the features, and the names of the classes; older sets, and labels without names, have none."""
    for name in (FEATURES, tfds.names_file(source)):
        if name and not (folder / name).exists():
            try:
                fetching.fetch([f"{address}/{name}"], folder / name, _any_text, TEXT, unheard)
            except Absent as absent:
                log.line(f"{source.builder}: done without {name} ({absent})")


def _fetch_split(split: tfds.Split, shards: Mapping[Path, int], address: str, log: ProgressLog) -> None:
    """Fetch those of a split's files that are not there; ``shards`` tells how many records each has."""
    for file, length in shards.items():
        log.label(f"fetching {file.name}")
        if file.exists():
            log.advance(file.stat().st_size)
        else:
            whole = functools.partial(tfrecord.check, count=length)
            fetching.fetch([f"{address}/{file.name}"], file, whole, split.size or UNTOLD, log.advance)
    if split.size not in (0, size := sum(file.stat().st_size for file in shards)):
        raise DataError(
            f"{split.name} of {address} has {size:,} bytes, {split.size:,} by its {tfds.INFO}: these are not of one "
            "set; remove it from the data folder's tensorflow_datasets, and fetch it again"
        )


def _any_text(file: Path) -> None:
    """Refuse what is no text."""
    try:
        file.read_text(encoding="utf-8")
    except ValueError:
        raise DataError(f"{file}: is no text") from None
