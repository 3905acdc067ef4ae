"""Archives that are not to be trusted leave nothing, and one inside another is unpacked."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mixer_bench.data import unpacking
from mixer_bench.errors import DataError
from tests import maker_archives

# --- unpacking


def _linked(kind: bytes, target: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("top/x")
        member.type, member.linkname = kind, target
        archive.addfile(member)
    return buffer.getvalue()


def _zip_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("top/x")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "up": (lambda: maker_archives.tarred({"top/../../x": b"1"}), "leads out of its folder"),
    "absolute": (lambda: maker_archives.tarred({"/tmp/x": b"1"}), "leads out of its folder"),
    "up in a zip": (lambda: maker_archives.zipped({"top/../../x": b"1"}), "leads out of its folder"),
    "backslash": (lambda: maker_archives.zipped({"..\\x": b"1"}), "leads out of its folder"),
    "symlink": (lambda: _linked(tarfile.SYMTYPE, "/etc/passwd"), "is a link or a device"),
    "hard link": (lambda: _linked(tarfile.LNKTYPE, "top/y"), "is a link or a device"),
    "device": (lambda: _linked(tarfile.CHRTYPE, ""), "is a link or a device"),
    "pipe": (lambda: _linked(tarfile.FIFOTYPE, ""), "is a link or a device"),
    "link in a zip": (_zip_link, "is a link"),
    "bomb": (lambda: maker_archives.zipped({"top/x": bytes(150_000_000)}), "unpacks to more than"),
    "another": (lambda: maker_archives.zipped({"other/x": b"1"}), "holds no top"),
    "cut off": (lambda: maker_archives.tarred({"top/x": bytes(range(256)) * 999})[:-500], "is damaged"),
    "no archive": (lambda: b"<html>", "is damaged"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_archive_to_be_trusted_leaves_nothing(what: str, tmp_path: Path) -> None:
    made, words = HOSTILE[what]
    file = tmp_path / "set.archive"
    file.write_bytes(made())
    with pytest.raises(DataError, match=words):
        unpacking.unpack(file, tmp_path / "data/top")
    assert list((tmp_path / "data").iterdir()) == []
    assert sorted(tmp_path.iterdir()) == [tmp_path / "data", file]


def test_an_archive_in_an_archive_is_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "caltech-101.zip"
    file.write_bytes(maker_archives.zipped({"a/b.tar.gz": maker_archives.tarred({"top/x": b"1"}), "__MACOSX/y": b"2"}))
    unpacking.unpack(file, tmp_path / "data/top", inner="a/b.tar.gz")
    assert (tmp_path / "data/top/x").read_bytes() == b"1"
    assert [place.name for place in (tmp_path / "data").iterdir()] == ["top"]
