"""Networks that see equal squares share the decoding, and nothing else: not failures, not claims, not memory."""

import contextlib
import dataclasses
import functools
import itertools
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mixer_bench.cli import app
from mixer_bench.data import examples as examples_module
from mixer_bench.data.examples import Examples
from mixer_bench.errors import DataError, WeightsError
from mixer_bench.models.matrices import Resizer
from mixer_bench.runs import rounds
from mixer_bench.runs import squares as squares_module
from mixer_bench.runs.features import CachedFeatures, Computer, Network
from mixer_bench.runs.squares import Squares
from tests.forks import scores, whole
from tests.runs.test_features import BATCH, SQUARE, Toy, examples, expected

SPLITS = (examples(20, tag="train"), examples(3, tag="val"), examples(17, tag="test"))
IMAGES = sum(map(len, SPLITS))


@pytest.fixture
def splits() -> tuple[Examples, ...]:
    return tuple(dataclasses.replace(each, images=type(each.images)(len(each))) for each in SPLITS)


def decoded(splits: Iterable[Examples]) -> list[list[int]]:
    """How often each image was asked for."""
    return [[split.images.asked.count(index) for index in range(len(split))] for split in splits]


class Models:
    """Networks with their caches in one folder, and how many of them are in memory together."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder, self.notes = folder, list[str]()
        self.held: set[str] = set()
        self.most = 0  # at a time
        self.toys = {name: Toy() for name in names}
        self.caches = {name: self.cache(name) for name in names}

    def cache(self, name: str) -> CachedFeatures:
        return CachedFeatures(
            Network(name, SQUARE, "fp32"),
            self.folder,
            load=lambda: self.load(name),
            computer=Computer(BATCH, "a processor", {}),
            on_note=self.notes.append,
        )

    def load(self, name: str) -> Toy:
        self.held = {other for other, cache in self.caches.items() if cache._backbone is not None} | {name}
        self.most = max(self.most, len(self.held))
        return self.toys[name]

    def fill(self, splits: tuple[Examples, ...], free: Callable[[], int] = lambda: 1) -> None:
        squares = Squares(SQUARE, BATCH, self.folder, self.notes.append)
        rounds.fill([*self.caches.values()], splits, squares, free)

    def right(self, name: str, splits: tuple[Examples, ...]) -> bool:
        cache = self.caches[name]
        return all(np.array_equal(cache.features(split), expected(len(split))) for split in splits)


@pytest.fixture
def three(tmp_path: Path) -> Models:
    return Models(tmp_path, "a", "b", "c")


def once(splits: tuple[Examples, ...], times: int = 1) -> list[list[int]]:
    return [[times] * len(split) for split in splits]


def test_an_image_is_decoded_once_for_three_networks(three: Models, splits: tuple[Examples, ...]) -> None:
    three.fill(splits)
    assert all(three.right(name, splits) for name in "abc")
    assert decoded(splits) == once(splits)
    assert [toy.images for toy in three.toys.values()] == [IMAGES] * 3
    assert three.most == 3
    assert three.notes == []
    for cache in three.caches.values():
        assert [extraction.images for extraction in cache.computed] == [20, 3, 17]
        assert all(extraction.seconds > 0 for extraction in cache.computed)


def test_what_is_kept_is_not_computed_again(three: Models, splits: tuple[Examples, ...]) -> None:
    Models(three.folder, "b").fill(splits)
    Models(three.folder, "c").fill(splits[:1])
    three.fill(splits)
    assert all(three.right(name, splits) for name in "abc")
    assert decoded(splits) == [[3] * 20, [2] * 3, [2] * 17]
    assert [toy.images for toy in three.toys.values()] == [IMAGES, 0, IMAGES - 20]


@pytest.mark.parametrize("kind", ["no number", "too few", "refused", "missing weights"])
def test_a_network_that_fails_does_not_stop_the_others(three: Models, splits: tuple[Examples, ...], kind: str) -> None:
    def spoil(features: np.ndarray) -> None:
        if kind == "no number":
            features[features[:, 0] == 13, 1] = np.nan
        elif kind == "too few":
            features.resize((len(features) - 1, 3), refcheck=False)
        else:
            raise ValueError("refused")

    def load() -> Toy:
        raise WeightsError("missing weights")

    three.toys["b"].spoil = spoil
    if kind == "missing weights":
        three.caches["b"]._load = load
    three.fill(splits)
    assert three.right("a", splits)
    assert three.right("c", splits)
    expected_error = {"no number": r"for 13\.png", "too few": "features came out for"}.get(kind, kind)
    for split in splits:
        with pytest.raises((FloatingPointError, RuntimeError, ValueError, WeightsError), match=expected_error):
            three.caches["b"].features(split)
    assert decoded(splits) == once(splits)
    assert [*three.folder.rglob(".*")] == [], "no half of a file, no claim"


def test_an_image_that_cannot_be_decoded_stops_them_all_and_leaves_nothing_half(
    three: Models, splits: tuple[Examples, ...]
) -> None:
    splits[2].images.broken = 9
    with pytest.raises(DataError, match=r"^9\.png"):
        three.fill(splits)
    assert [*three.folder.rglob(".*")] == []
    assert all(three.right(name, splits[:2]) for name in "abc"), "what was whole by then is kept"


@pytest.mark.parametrize("room", ["enough", "none", "full"])
def test_networks_that_do_not_fit_together_follow_from_squares_that_are_kept(
    three: Models, splits: tuple[Examples, ...], room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = itertools.cycle([10, 4])  # less than half of what it was is free once a network is there
    if room == "none":
        monkeypatch.setattr(squares_module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 9))
    if room == "full":
        full = functools.partial(open, "/dev/full", "wb")
        monkeypatch.setattr(squares_module.tempfile, "TemporaryFile", lambda **_: full())
    three.fill(splits, lambda: next(free))
    assert all(three.right(name, splits) for name in "abc")
    assert three.most == 1
    assert decoded(splits) == once(splits, 1 if room == "enough" else 3)
    assert any("decoded again" in note for note in three.notes) == (room != "enough")
    assert {file.suffix for file in three.folder.rglob("*") if file.is_file()} == {".npy"}


def test_a_network_that_finds_no_room_beside_others_is_tried_alone(three: Models, splits: tuple[Examples, ...]) -> None:
    def spoil(_: np.ndarray) -> None:
        if len(three.held) > 1:
            raise torch.OutOfMemoryError("out of memory")

    three.toys["b"].spoil = spoil
    three.fill(splits)
    assert all(three.right(name, splits) for name in "abc")
    assert three.held == {"b"}
    assert decoded(splits) == once(splits, 2)


def test_what_another_process_computes_is_left_to_it(three: Models, splits: tuple[Examples, ...]) -> None:
    with contextlib.ExitStack() as elsewhere:
        assert elsewhere.enter_context(three.cache("b").claimed(splits[0]))
        three.fill(splits)
        assert [toy.images for toy in three.toys.values()] == [IMAGES, IMAGES - 20, IMAGES]
        assert three.caches["b"].missing(splits[0])
    assert three.right("b", splits), "it ended without: now they are computed here"
    assert decoded(splits) == [[2] * 20, [1] * 3, [1] * 17]


def test_features_that_cannot_be_kept_are_still_of_images_decoded_once(
    tmp_path: Path, splits: tuple[Examples, ...]
) -> None:
    (tmp_path / "cache").write_text("in the way", encoding="utf-8")
    three = Models(tmp_path / "cache", "a", "b", "c")
    three.fill(splits)
    assert all(three.right(name, splits) for name in "abc")
    assert decoded(splits) == once(splits)
    assert [note.partition(": /")[0] for note in three.notes] == ["features are not kept"] * 3


@pytest.mark.parametrize("ahead", [0, 2])
def test_squares_that_a_device_makes_are_those_of_the_host_and_are_kept_alike(
    three: Models, splits: tuple[Examples, ...], ahead: int
) -> None:
    how = SQUARE.model_copy(update={"resolution": 5, "interpolation": "bicubic"})
    resizer = Resizer(how, torch.device("cpu"))
    there = Squares(how, BATCH, three.folder, three.notes.append, resizer)
    for again in (True, False):  # made, and then read back
        for split in splits:
            host = np.concatenate([*squares_module.batches(split, how, BATCH)])
            made = [squares_module.on_host(batch) for batch in there.batches(split, ahead, again)]
            assert [len(batch) for batch in made] == [min(BATCH, len(split) - at) for at in range(0, len(split), BATCH)]
            assert np.array_equal(np.concatenate(made), host)
    assert three.notes == []


NANOS = ("random:mixer_nano", "random:vit_nano", "pixels")


def test_a_command_of_three_models_decodes_each_file_once_and_measures_what_three_commands_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 9, 12, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        file = tmp_path / "pets" / f"class {number % 3}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    asked: list[str] = []
    read = examples_module._Verified.__getitem__

    def counted(images: examples_module._Verified, index: int) -> np.ndarray:
        asked.append(images._rows.place(index))
        return read(images, index)

    monkeypatch.setattr(examples_module._Verified, "__getitem__", counted)
    command = ["run", "--task", str(tmp_path / "pets"), "--protocol", "knn,fewshot", "--seeds", "2", "--device", "cpu"]
    assert app.main([*command, "--model", ",".join(NANOS), "--output-dir", str(tmp_path / "together")]) == 0
    assert len(asked) == len({*asked}) == 60
    for name in NANOS:
        monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / name))
        assert app.main([*command, "--model", name, "--output-dir", str(tmp_path / "apart")]) == 0
    together, apart = scores(tmp_path / "together"), scores(tmp_path / "apart")
    assert together == apart
    assert len(together) == 3 * (1 + 2 * 4)
    costs = [record.cost for record in whole(tmp_path / "together")]
    assert sum(cost.images for cost in costs) == 3 * 60
    assert len([cost for cost in costs if cost.extract_s > 0]) == 3
