"""Every image through the network once; the cache is right, or is computed again."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mixer_bench.data.examples import Examples
from mixer_bench.errors import DataError
from mixer_bench.models.preprocessing import Preprocessing
from mixer_bench.runs.features import CachedFeatures, Computer, Network
from mixer_bench.runs.squares import READ_AHEAD, batches
from mixer_bench.system import arrays, files, paths

SQUARE = Preprocessing(resolution=2, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", resize="squash")
BATCH = 8
COUNTS = sorted(
    {1, 2, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH - 1, 2 * BATCH, 3 * BATCH + 1, 10 * BATCH, 10 * BATCH + 3}
)


class Counted:
    """Images that remember which of them were asked for; image i says i in its first two values."""

    def __init__(self, count: int, broken: int | None = None) -> None:
        self.count, self.broken = count, broken
        self.asked: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> np.ndarray:
        self.asked.append(index)
        if index == self.broken:
            raise DataError(f"{index}.png: cannot be decoded as an image")
        return np.full((2, 2, 3), (index // 256, index % 256, 7), dtype=np.uint8)


def examples(count: int, broken: int | None = None, tag: str = "") -> Examples:
    digests = tuple(hashlib.sha256(f"{tag}{index}".encode()).hexdigest() for index in range(count))
    return Examples(Counted(count, broken), np.arange(count) % 3, tuple(f"{i}.png" for i in range(count)), digests)


class Toy:
    """A backbone of a few lines: an image's number and its square."""

    def __init__(
        self, preprocessing: Preprocessing = SQUARE, spoil: Callable[[np.ndarray], None] | None = None
    ) -> None:
        self.preprocessing = preprocessing
        self.overlaps = True
        self.notes: tuple[str, ...] = ()
        self.deviation: float | None = None
        self.spoil = spoil
        self.images = 0

    def begin(self, squares: np.ndarray) -> Callable[[], tuple[np.ndarray, float]]:
        features = self.features(squares)
        return lambda: (features, 1.0)

    def features(self, squares: np.ndarray) -> np.ndarray:
        self.images += len(squares)
        number = squares[:, 0, 0, 0].astype(np.float32) * 256 + squares[:, 0, 0, 1]
        features = np.stack([number, number**2, np.ones_like(number)], axis=1)
        if self.spoil is not None:
            self.spoil(features)
        return features


def expected(count: int) -> np.ndarray:
    number = np.arange(count, dtype=np.float32)
    return np.stack([number, number**2, np.ones_like(number)], axis=1)


@dataclasses.dataclass
class Bench:
    """A cache in a folder, and what was computed and said."""

    folder: Path
    backbone: Toy = dataclasses.field(default_factory=Toy)
    loaded: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)
    told: list[int] = dataclasses.field(default_factory=list)

    def cache(
        self,
        weights: str = "w",
        preprocessing: Preprocessing = SQUARE,
        precision: str = "fp32",
        batch_size: int = BATCH,
    ) -> CachedFeatures:
        """As a new process has it: with an empty memory."""

        def load() -> Toy:
            self.loaded += 1
            return self.backbone

        return CachedFeatures(
            Network(weights, preprocessing, precision),
            self.folder,
            load=load,
            computer=Computer(batch_size, "a processor", {"torch": "1"}),
            on_batch=self.told.append,
            on_note=self.notes.append,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# --- batches and extract


@pytest.mark.parametrize("ahead", [0, READ_AHEAD])
@pytest.mark.parametrize("count", COUNTS)
def test_batches_give_every_image_once_and_in_order(count: int, ahead: int) -> None:
    given = examples(count)
    parts = list(batches(given, SQUARE, BATCH, ahead))
    sizes = [len(part) for part in parts]
    assert sizes == [BATCH] * (count // BATCH) + [count % BATCH] * (count % BATCH > 0)
    squares = np.concatenate(parts)
    assert squares.dtype == np.uint8
    assert squares.shape == (count, 2, 2, 3)
    assert (squares[:, 0, 0, 0].astype(int) * 256 + squares[:, 0, 0, 1]).tolist() == list(range(count))
    assert sorted(given.images.asked) == list(range(count)), "several threads ask, each image once"


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("batch_size", [1, BATCH, 1000])
def test_features_are_the_same_whatever_the_batch_size(bench: Bench, count: int, batch_size: int) -> None:
    assert np.array_equal(bench.cache(batch_size=batch_size).features(examples(count)), expected(count))
    assert sum(bench.told) == bench.backbone.images == count
    assert len(bench.told) == -(-count // batch_size)


@pytest.mark.parametrize("ahead", [0, READ_AHEAD])
def test_images_are_prepared_only_so_far_ahead(ahead: int) -> None:
    given = examples(100 * BATCH)
    reading = batches(given, SQUARE, BATCH, ahead)
    next(reading)
    reading.close()
    assert len(given.images.asked) <= (1 + ahead) * BATCH


@pytest.mark.parametrize("broken", [0, BATCH - 1, BATCH, 4 * BATCH])
def test_an_image_that_cannot_be_decoded_ends_the_extraction(bench: Bench, broken: int) -> None:
    with pytest.raises(DataError, match=f"^{broken}.png: cannot be decoded"):
        bench.cache().features(examples(5 * BATCH, broken))
    assert bench.cache().missing(examples(5 * BATCH))
    assert [*bench.folder.rglob("*.partial")] == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_no_number_is_an_error_that_names_the_image_and_is_not_kept(
    bench: Bench, value: float
) -> None:
    def spoil(features: np.ndarray) -> None:
        features[features[:, 0] == 13, 1] = value

    bench.backbone.spoil = spoil
    with pytest.raises(FloatingPointError, match=r"features for 13\.png"):
        bench.cache().features(examples(20))
    bench.backbone.spoil = None
    assert bench.cache().missing(examples(20))
    assert np.array_equal(bench.cache().features(examples(20)), expected(20))


class Forgetful(Toy):
    def features(self, squares: np.ndarray) -> np.ndarray:
        return super().features(squares)[:-1]


def test_a_network_that_loses_images_is_an_error(bench: Bench) -> None:
    bench.backbone = Forgetful()
    with pytest.raises(RuntimeError, match="17 features came out for 20 images"):
        bench.cache().features(examples(20))


# --- the cache


def test_the_network_sees_a_image_once_then_memory_then_disk(bench: Bench) -> None:
    given, first = examples(20), bench.cache()
    assert first.missing(given)
    features = first.features(given)
    assert not first.missing(given)
    assert first.features(given) is features
    assert first.features(examples(20)) is features, "equal content is the same data"
    second = bench.cache()
    assert not second.missing(given)
    assert np.array_equal(second.features(given), expected(20))
    assert second.features(given).dtype == np.float32
    assert (bench.backbone.images, bench.loaded, bench.notes) == (20, 1, [])


def test_what_was_computed_here_is_told_from_what_was_found(bench: Bench) -> None:
    first, second = bench.cache(), bench.cache()
    assert bench.loaded == 0
    for cache in (first, second):
        for count in (20, 3):
            cache.features(examples(count, tag=str(count)))
    assert bench.loaded == 1, "once for several splits, never for none"
    assert [extraction.images for extraction in first.computed] == [20, 3]
    assert first.provenance == first.computed
    assert second.computed == []
    assert second.provenance == first.provenance
    assert (first.computed[0].device_name, first.computed[0].batch_size) == ("a processor", BATCH)
    assert first.computed[0].seconds > 0


@pytest.mark.parametrize("source", ["network", "memory", "disk"])
def test_features_are_read_only(bench: Bench, source: str) -> None:
    cache = bench.cache()
    if source != "network":
        cache.features(examples(4))
    cache = bench.cache() if source == "disk" else cache
    with pytest.raises(ValueError, match="read-only"):
        cache.features(examples(4))[0, 0] = 1


OTHER_SETTINGS = {
    "weights": {"weights": "v"},
    "precision": {"precision": "bf16"},
    **{
        name: {"preprocessing": SQUARE.model_copy(update={name: value})}
        for name, value in {
            "resolution": 3,
            "mean": (0.5, 0.5, 0.25),
            "resize": "crop",
            "crop_pct": 0.9,
            "interpolation": "bicubic",
        }.items()
    },
}
OTHER_DATA = {
    "an image": dataclasses.replace(examples(5), digests=examples(5, tag="x").digests),
    "a label": dataclasses.replace(examples(5), labels=np.array([0, 1, 2, 0, 0])),
    "one more": examples(6),
    "the order": examples(5).take(np.array([1, 0, 2, 3, 4])),
}


@pytest.mark.parametrize("changed", [*OTHER_SETTINGS, *OTHER_DATA])
def test_another_setting_and_other_data_are_another_place(bench: Bench, changed: str) -> None:
    bench.cache().features(examples(5))
    other, given = bench.cache(**OTHER_SETTINGS.get(changed, {})), OTHER_DATA.get(changed, examples(5))
    assert other.place(given) != bench.cache().place(examples(5))
    assert other.missing(given)
    other.features(given)
    assert bench.backbone.images == 5 + len(given)


TOLD = json.dumps(
    {"images": 5, "seconds": 1.0, "prepared": 0.0, "device_name": "cpu", "batch_size": 8, "environment": {"torch": "1"}}
)


def file_of(folder: Path, rows: np.ndarray, told: str) -> bytes:
    with arrays.saving_rows(folder / "other.npy", len(rows), lambda: told) as add:
        add(rows)
    return (folder / "other.npy").read_bytes()


DAMAGED: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"not an array\n",
    "another array file": lambda _: b"\x93NUMPY\x01\x00",
    "a row too few": lambda folder: file_of(folder, expected(4), TOLD),
    "nothing told": lambda folder: file_of(folder, expected(5), ""),
    "told in no JSON": lambda folder: file_of(folder, expected(5), "{"),
    "told other things": lambda folder: file_of(folder, expected(5), '{"photos": 5}'),
}


@pytest.mark.parametrize("kind", [*DAMAGED, "truncated"])
def test_a_damaged_cache_file_is_computed_again_with_a_note_and_replaced(bench: Bench, kind: str) -> None:
    given = examples(5)
    bench.cache().features(given)
    place = bench.cache().place(given)
    place.write_bytes(DAMAGED[kind](bench.folder) if kind in DAMAGED else place.read_bytes()[:-40])
    assert np.array_equal(bench.cache().features(given), expected(5))
    assert len(bench.notes) == 1
    assert f"{place.name} are damaged" in bench.notes[0]
    assert np.array_equal(bench.cache().features(given), expected(5))
    assert (bench.backbone.images, len(bench.notes)) == (10, 1)


@pytest.mark.parametrize("bits", [0x01, 0xFF])
def test_whatever_byte_of_a_cache_file_is_damaged_the_features_are_right(
    bench: Bench, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.os, "fsync", lambda _: None)  # of a thousand files
    given = examples(5)
    bench.cache().features(given)
    place = bench.cache().place(given)
    whole = place.read_bytes()
    wrong: list[str] = []
    for position in range(len(whole)):
        content = bytearray(whole)
        content[position] ^= bits
        place.write_bytes(content)
        try:
            if not np.array_equal(bench.cache().features(given), expected(5)):
                wrong.append(f"byte {position}: other features")
        except Exception as error:  # noqa: BLE001
            wrong.append(f"byte {position}: {type(error).__name__}: {error}")
    assert wrong == []
    assert len(bench.notes) == len(whole), "every byte counts"


@pytest.mark.parametrize("in_the_way", ["a folder at the place", "a file as the folder"])
def test_a_cache_that_cannot_be_written_is_a_note_not_an_error(tmp_path: Path, in_the_way: str) -> None:
    bench = Bench(tmp_path / "cache")
    if in_the_way == "a file as the folder":
        (tmp_path / "cache").write_text("in the way", encoding="utf-8")
    else:
        bench.cache().place(examples(20)).mkdir(parents=True)
    cache = bench.cache()
    features = cache.features(examples(20))
    assert np.array_equal(features, expected(20))
    assert cache.features(examples(20)) is features
    assert [note.partition(": /")[0] for note in bench.notes] == ["features are not kept"]


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "cache"))
    assert paths.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("MIXER_BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.cache_dir().is_relative_to(tmp_path)
    assert paths.cache_dir().name == "mixer-bench"
