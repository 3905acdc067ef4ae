"""The makers' archives are fetched over loopback: resumed, hashed, refused, and nowhere asked for when offline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixer_bench.data import archives, loading
from mixer_bench.errors import Absent, DataError
from tests import maker_archives
from tests.data.makers import by_hand, small

# --- fetching


FILES = {"EuroSAT.zip": maker_archives.zipped({f"2750/A/A_{n}.jpg": bytes(range(256)) * 40 for n in range(9)})}


THERE = "eurosat/2750"


def test_a_fetch_that_broke_off_goes_on_where_it_ended(tmp_path: Path, offered: Any) -> None:
    with maker_archives.serving(FILES) as server:
        offered("eurosat", server)
        server.broken_at["EuroSAT.zip"] = 100
        with pytest.raises(Absent, match=r"EuroSAT.zip: the connection broke off; the same command goes on; get Euro"):
            archives.fetch("eurosat", tmp_path)
        assert (tmp_path / "eurosat/EuroSAT.zip.partial").stat().st_size == 100
        archives.fetch("eurosat", tmp_path)
        assert server.requests[-1] == ("EuroSAT.zip", "bytes=100-")
    assert (tmp_path / THERE / "A/A_3.jpg").read_bytes() == bytes(range(256)) * 40
    assert sorted(file.name for file in (tmp_path / "eurosat").iterdir()) == ["2750"]


def test_what_is_left_of_a_longer_file_is_not_asked_to_go_on_for_ever(tmp_path: Path, offered: Any) -> None:
    content = FILES["EuroSAT.zip"]
    with maker_archives.serving({"EuroSAT.zip": content, "short": content[:50]}) as server:
        partial = tmp_path / "eurosat/EuroSAT.zip.partial"
        partial.parent.mkdir()
        partial.write_bytes(bytes(60))
        offered("eurosat", server, addresses=(server.address + "short",))
        with pytest.raises(Absent, match=r"short: .* has 60 bytes, .* are expected"):
            archives.fetch("eurosat", tmp_path)
        assert not partial.exists()
        offered("eurosat", server)
        archives.fetch("eurosat", tmp_path)
    assert (tmp_path / THERE).is_dir()


def test_a_wrong_hash_is_not_believed_and_the_next_address_is_tried(tmp_path: Path, offered: Any) -> None:
    content = FILES["EuroSAT.zip"]
    with maker_archives.serving({"EuroSAT.zip": content, "bad": content[:-1] + b"x", "long": content + b"x"}) as server:
        addresses = tuple(server.address + name for name in ("dead", "bad", "long"))
        offered("eurosat", server, addresses=addresses)
        with pytest.raises(Absent) as raised:
            archives.fetch("eurosat", tmp_path)
        for words in ("dead answers 404", "bad: ", "its SHA-256 is", "long: gives more than", "SHA-256", "put it into"):
            assert words in str(raised.value)
        assert list((tmp_path / "eurosat").iterdir()) == []
        offered("eurosat", server, addresses=(*addresses, server.address + "EuroSAT.zip"))
        archives.fetch("eurosat", tmp_path)
    assert (tmp_path / THERE).is_dir()


def test_a_file_put_there_by_hand_is_checked_used_and_kept(tmp_path: Path, offered: Any) -> None:
    with maker_archives.serving(FILES) as server:
        offered("eurosat", server)
        file = tmp_path / "eurosat/EuroSAT.zip"
        file.parent.mkdir()
        file.write_bytes(b"another")
        with pytest.raises(DataError, match=r"has 7 bytes, .* are expected: it is another version, or broken"):
            archives.fetch("eurosat", tmp_path)
        file.write_bytes(FILES["EuroSAT.zip"])
        archives.fetch("eurosat", tmp_path)
        assert server.requests == [] and file.exists() and (tmp_path / THERE).is_dir()


def test_a_disk_that_is_too_small_is_named_before_anything_is_fetched(
    tmp_path: Path, offered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with maker_archives.serving(FILES) as server:
        offered("eurosat", server)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1))
        with pytest.raises(Absent, match=r"EuroSAT.zip: 0.0 MB are needed in .*, 0.0 MB are free; make room"):
            archives.fetch("eurosat", tmp_path)
        assert server.requests == []


def test_a_folder_that_cannot_be_written_is_named_and_the_next_source_taken(
    tmp_path: Path, offered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with maker_archives.serving(FILES) as server:
        offered("eurosat", server)
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(Absent, match=r"EuroSAT.zip: .* cannot be written; name another data folder"):
            archives.fetch("eurosat", tmp_path)
        assert server.requests == []


@pytest.mark.parametrize(
    ("put", "moved"),
    [
        ("eurosat/2750/2750/A/A_1.jpg", "eurosat/2750/2750 is not where it belongs; move it to .*eurosat/2750"),
        ("eurosat/EuroSAT/2750/A/A_1.jpg", "eurosat/EuroSAT/2750 is not"),
        ("EuroSAT/2750/A/A_1.jpg", "EuroSAT/2750 is not"),
        ("2750/A/A_1.jpg", "2750 is not"),
        ("EuroSAT.zip", "EuroSAT.zip is not where it belongs; move it to .*eurosat/EuroSAT.zip"),
    ],
)
def test_what_a_person_put_near_to_where_it_belongs_is_not_fetched_again(
    tmp_path: Path, offered: Any, put: str, moved: str
) -> None:
    (tmp_path / put).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / put).write_bytes(FILES["EuroSAT.zip"])
    with maker_archives.serving(FILES) as server:
        offered("eurosat", server)
        with pytest.raises(DataError, match=moved):
            loading.load(small("eurosat", {}, {}, 3), tmp_path)
        assert server.requests == []


def test_a_folder_of_a_common_name_is_anybodys(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    archives.refuse_misplaced("oxford_iiit_pet", tmp_path)


@pytest.mark.parametrize("spelled", [str, str.upper])
def test_names_in_other_letters_are_refused_since_their_order_would_be_another(
    tmp_path: Path, spelled: Callable[[str], str]
) -> None:
    names = [f"{kind}/{kind}_{number:03}.jpg" for kind in ("airport", "beach") for number in range(1, 9)]
    for name in map(spelled, names):
        place = tmp_path / "NWPU-RESISC45" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(maker_archives.image(1, 1, "jpg"))
    first = by_hand("train", [name.replace("/", "_") for name in names])[0]
    cut = {"train": "train[:9]", "val": "train[9:12]", "test": "train[12:]"}
    task = small("resisc45", cut, {"train": 9, "val": 3, "test": 4}, 2)
    task = task.model_copy(update={"source": tuple(s.model_copy(update={"begins": first}) for s in task.source)})
    if spelled is str:
        assert (
            "TFDS 4.2.0 and later; before, it differed from machine to machine" in loading.load(task, tmp_path).source
        )
    else:
        with pytest.raises(DataError, match=f"its first key is '[A-Z_0-9.]*', not '{first}': names were changed"):
            loading.load(task, tmp_path)


def test_offline_nothing_is_asked_for(tmp_path: Path, offered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with maker_archives.serving(FILES) as server:
        offered("eurosat", server)
        with pytest.raises(DataError, match=r"no source is there"):
            loading.load(small("eurosat", {}, {}, 3), tmp_path)
        assert server.requests == []


def test_an_archive_read_as_it_is_is_hashed_once_for_each_state(tmp_path: Path, offered: Any) -> None:
    files, _ = maker_archives.dsprites(30, tmp_path / "made.hdf5")
    with maker_archives.serving(files) as server:
        offered("dsprites", server)
        archives.fetch("dsprites", tmp_path)
        (archive,) = archives.of("dsprites").archive
    file = archives.check(archive, tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="its SHA-256 is"):
        archives.check(archive, tmp_path)
