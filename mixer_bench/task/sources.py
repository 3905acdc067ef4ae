"""Where a task's images may come from: what a ``[[source]]`` of a task file can say."""

from __future__ import annotations

import string
from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from mixer_bench.system.schema import Frozen

Subset = Literal["official", "official-lossy", "resampled"]  # the best first
Split = Literal["train", "val", "test"]
Listing = Literal["ascii", "case-insensitive"]


def at_least(subset: Subset, least: Subset) -> bool:
    """Return whether images are as near to the published ones as ``least``."""
    order = get_args(Subset)
    return order.index(subset) <= order.index(least)


class SplitTable(Frozen):
    """A value for each of the three splits; without train and val there is nothing to learn from, only to judge."""

    train: str = ""
    val: str = ""
    test: str

    @model_validator(mode="after")
    def _train_and_val_go_together(self) -> SplitTable:
        if bool(self.train) != bool(self.val):
            raise ValueError("train and val are given both or neither")
        return self


class Sizes(Frozen):
    """How many examples each split must have."""

    train: NonNegativeInt = 0
    val: NonNegativeInt = 0
    test: PositiveInt


def _fields(template: str) -> set[str]:
    """Return the names in a template; one with a format, which could ask for a text of any length, is none."""
    parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
    return {f"{name}{':' * bool(how or conversion)}" for _, name, how, conversion in parts}


class _Source(Frozen):
    """What every source may say.

    Its own splits are renamed, put in order, and then cut by the task's expressions (or its own ``splits``).
    """

    subset: Subset = "official"
    # "source": as it comes; "tfds": TensorFlow Datasets' order, by md5(split + key); "seeded": a fixed seed's shuffle.
    order: Literal["source", "tfds", "seeded"] = "source"
    key: str = ""  # the TFDS key of a row, of its fields and "{index}", "{class}" (its name), "{split}" (the source's)
    begins: str = ""  # the first key of train in TFDS's order: with files renamed or respelled it is another
    edition: str = ""  # where TFDS had more than one order: which of them it is, in words; said with the order
    rename: dict[str, str] = {}  # the source's names of its splits -> those of TFDS, which are the order's salt
    splits: SplitTable | None = None  # where its splits are cut otherwise than the task says
    rows: dict[str, PositiveInt] = {}  # how many each of its (renamed) splits holds before anything is cut
    sizes: dict[Split, tuple[PositiveInt, ...]] = {}  # numbers it may hold instead of what the task says
    rule: str = ""  # a function of data/vtab_labels.py from the stored label to the task's
    # Images of 0 and 1: as they are; to be seen as black and white; wrong, since they should be of 0 and 255.
    zero_one: Literal["kept", "stretched", "refused"] = "kept"
    originals: str = ""  # its makers' files, a name in data/originals.toml: fetched where they are not there
    access: str = ""  # what a person must do before it can be had: terms, a manual download, where files go
    unverified: tuple[str, ...] = ()  # what no primary source confirms
    skip_bad: bool = False  # of one's own: leave out images that cannot be decoded or are in test too
    follow_links: bool = False  # of one's own: take images behind links out of the folder

    @model_validator(mode="after")
    def _order_has_its_key(self) -> _Source:
        try:
            fields = _fields(self.key)
        except ValueError as error:
            raise ValueError(f"key: {error}") from None
        if self.key and not (fields and all(map(str.isidentifier, fields))):
            raise ValueError("key must hold fields such as '{file}' or '{index}', by name alone")
        if (self.order == "tfds") != bool(self.key):
            raise ValueError("order = 'tfds' and key belong together")
        if self.order == "seeded" and self.subset != "resampled":
            raise ValueError("a seeded order is subset = 'resampled'")
        return self


def places(source: Source) -> tuple[str, ...]:
    """Return the places below the data folder that a source names."""
    named = [getattr(source, key) for key in ("folder", "place", "file", "repo") if hasattr(source, key)]
    return (*named, *(place for part in getattr(source, "part", ()) for place in places(part)))


class EmbeddedSource(_Source):
    """Images that come with the package: ``mixer_bench/embedded/<folder>/`` (images.zip, images.csv)."""

    kind: Literal["embedded"]
    folder: str


class FolderSource(_Source):
    """Class folders below ``--data-dir``; ``data/readers/folder.py`` reads them.

    ``layout``: "drawn" completes train, val and test where they are not all given; "splits" takes each folder of class
    folders as a split of its name; "flat" takes class folders as one split named train.
    """

    kind: Literal["folder"]
    folder: str
    layout: Literal["drawn", "splits", "flat"] = "drawn"
    folders: tuple[str, ...] = ()  # the split folders of "splits"; empty: all there are


class Carried(Frozen):
    """TFDS's keys as a copy may carry them in some column, and what proves that a column does (data/carried.py).

    A key is made of a column's value: of "{value}" itself or, where it is a file's place, "{stem}" (its name without
    suffix) and "{group}" (the stem before its last "_").
    """

    key: str
    digests: SplitTable  # of each of the task's parts: its keys in order, joined by commas, SHA-256's first 16 digits
    labels: str = ""  # that of all parts' labels in order, numbered as they first occur; empty: not known

    @model_validator(mode="after")
    def _made_of_pieces(self) -> Carried:
        if not _fields(self.key) or not _fields(self.key) <= {"value", "stem", "group"}:
            raise ValueError("key is made of '{value}', '{stem}' and '{group}'")
        return self


class HubSource(_Source):
    """A data set of the Hugging Face hub, parquet or webdataset files, or a folder on disk of that layout."""

    kind: Literal["hub"]
    repo: str
    revision: str = "main"  # a commit where one is known
    config: str | None = None
    files: dict[str, str] = {}  # split -> pattern of its files, where a repository holds more than the task needs
    image: str = "image"
    label: str = "label"
    carried: Carried | None = None
    complete: bool = False  # draw what is not given of train, val and test, as with images of one's own


class Vtab1kFolderSource(_Source):
    """A task of the VTAB-1k folder that NOAH's script writes, or of its zip: ``vtab-1k/<folder>/train800.txt`` ..."""

    kind: Literal["vtab1k_folder"]
    folder: str
    subset: Subset = "official-lossy"  # its script saved every image as JPEG, quality 75
    splits: SplitTable | None = SplitTable(train="train800", val="val200", test="test")


class TorchvisionSource(_Source):
    """The original files below ``--data-dir`` as a class of ``torchvision.datasets`` reads them."""

    kind: Literal["torchvision"]
    dataset: str
    place: str  # the folder or file that is there where the files are
    arguments: dict[str, dict[str, str | int | bool]]  # split -> what the class is called with for it
    target: Literal["label", "closest_object_distance"] = "label"  # the latter of CLEVR's scenes, VTAB's Clevr-Dist


class OriginalsSource(_Source):
    """The makers' own files of a data set, which ``originals`` names, as ``data/readers/originals.py`` reads them."""

    kind: Literal["originals"]
    label: str = "label"  # which of its labels, where there are several
    listing: Listing = "ascii"  # of folders, where TFDS drew its splits along one: Caltech101's
    proved_by: str = ""  # the folder of vtab-1k whose labels must be its own, in order; without it the source is absent


class TfdsSource(_Source):
    """A data set that TensorFlow Datasets prepared: ``tensorflow_datasets/<dataset>[/<config>]/<version>/``.

    ``label`` names the feature that ``target`` makes the label of: the label itself, how many values it has, or the
    class of the closest object's or vehicle's distance by its coordinates (VTAB's Clevr-Dist and KITTI-Dist).
    """

    kind: Literal["tfds"]
    dataset: Annotated[str, Field(pattern=r"^\w+$")]
    config: Annotated[str, Field(pattern=r"^\w[\w-]*$")] | None = None
    major: PositiveInt  # of its version: what another one holds may be ordered or encoded otherwise
    image: str = "image"
    label: str = "label"
    target: Literal["label", "count", "closest_object_distance", "closest_vehicle_distance"] = "label"
    file_name: str = ""  # the feature with the original file's, where there is one

    @property
    def builder(self) -> str:
        """Return what TFDS calls the set, with its configuration."""
        return f"{self.dataset}/{self.config}" if self.config else self.dataset


class TableSource(_Source):
    """A CSV or parquet file that lists images (paths below its own folder), classes and perhaps splits."""

    kind: Literal["table"]
    file: str
    image: str = "path"
    label: str = "label"
    split: str = "split"


Single = (
    EmbeddedSource
    | FolderSource
    | HubSource
    | Vtab1kFolderSource
    | TorchvisionSource
    | OriginalsSource
    | TfdsSource
    | TableSource
)


class JoinedSource(_Source):
    """Splits of several sources side by side, e.g. ImageNet's train with ImageNet-V2's test; all must be there."""

    kind: Literal["joined"]
    part: Annotated[tuple[Annotated[Single, Field(discriminator="kind")], ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _parts_are_cut_together(self) -> JoinedSource:
        for key in ("rule", "splits", "sizes"):
            if any(getattr(part, key) != type(part).model_fields[key].default for part in self.part):
                raise ValueError(f"a part has no {key} of its own; give it to the whole")
        return self


Source = Annotated[Single | JoinedSource, Field(discriminator="kind")]
