"""files.write: a file is there whole or as it was before."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import pytest

from mixer_bench.system import files

resource = pytest.importorskip("resource", reason="needs a POSIX system")

CONTENTS = {
    "text": ("Grüße\n", "Grüße\n".encode()),
    "bytes": (b"\x00\xff\r\n", b"\x00\xff\r\n"),
    "function": (lambda file: file.write(b"from a function"), b"from a function"),
    "nothing": ("", b""),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_content_arrives_byte_for_byte_and_alone_in_place_of_what_was_there(tmp_path: Path, kind: str) -> None:
    content, expected = CONTENTS[kind]
    place = tmp_path / "a" / "b c" / "ü" / "file.json"  # missing folders are made
    files.write(place, "a long first version")
    files.write(place, content)
    assert place.read_bytes() == expected
    assert [path.name for path in place.parent.iterdir()] == ["file.json"]


def test_content_is_on_the_disk_before_its_name_and_the_name_before_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"{os.fstat(handle).st_size} bytes")
        sync(handle)

    def renamed(place: Path, target: Path) -> Path:
        steps.append("name")
        return replace(place, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    files.write(tmp_path / "a", b"12345")
    assert steps == ["5 bytes", "name", "folder"]


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        files.write(tmp_path / "file", "x")
        assert os.umask(umask) == umask, "the process's umask was changed"
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    files.write(tmp_path / "file", "old")

    def half(file) -> None:
        file.write(b"ne")
        raise error

    with pytest.raises(error):
        files.write(tmp_path / "file", half)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("place", ["folder", "file/child"])
def test_what_is_in_the_way_is_an_os_error_without_leftovers(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(OSError, match=r"exist|directory"):
        files.write(tmp_path / place, "x")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "not a folder"


KILLED = """
import os, signal, sys
from pathlib import Path
from mixer_bench.system import files

def half(file):
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

files.write(Path(sys.argv[1]), half)
"""


@pytest.mark.parametrize("before", ["old", None])
def test_a_kill_midway_leaves_the_place_as_it_was_and_only_hidden_leftovers(tmp_path: Path, before: str | None) -> None:
    place = tmp_path / "record.json"
    if before is not None:
        place.write_text(before, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", KILLED, str(place)], check=False, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (place.read_text(encoding="utf-8") if place.exists() else None) == before
    left = [path.name for path in tmp_path.iterdir() if path != place]
    assert len(left) == 1
    assert left[0].startswith(".")
    assert not left[0].endswith(".json")
    files.write(place, "new")
    assert place.read_text(encoding="utf-8") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"], "the next to write tidies"


def test_only_what_dead_processes_left_is_tidied_away(tmp_path: Path) -> None:
    here = f".mixer-bench.{files._kernel()}.abcdefgh.partial"
    elsewhere = [f".mixer-bench.00000000.{name}.partial" for name in ("younger_", "aday_old")]
    others = [".record.json.x1y2.partial", "mixer-bench.partial", "record.json"]
    for name in (here, *elsewhere, *others):
        (tmp_path / name).write_text("half", encoding="utf-8")
    yesterday = (tmp_path / here).stat().st_mtime - files.DAY - 60
    os.utime(tmp_path / elsewhere[1], (yesterday, yesterday))
    seen: list[set[str]] = []

    def content(file: IO[bytes]) -> None:
        file.write(b"half of it")
        files.tidy(tmp_path)  # as another process that begins just now
        seen.append({path.name for path in tmp_path.iterdir()})

    files.write(tmp_path / "written", content)
    (here_too,) = seen[0] - {elsewhere[0], *others}
    assert here_too.endswith(".partial"), "what a living process writes stays; what another machine left, for a day"
    assert {path.name for path in tmp_path.iterdir()} == {elsewhere[0], *others, "written"}


def test_what_is_taken_for_a_dead_ones_before_it_is_locked_is_begun_again(tmp_path: Path, monkeypatch) -> None:
    locked, asked = files.locked, list[int]()

    def late(handle: int) -> bool:
        asked.append(handle)
        if len(asked) == 1:
            (made,) = tmp_path.iterdir()
            made.unlink()
        return locked(handle)

    monkeypatch.setattr(files, "locked", late)
    files.write(tmp_path / "file", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert len(asked) == 2


FULL = """
import sys
from pathlib import Path
from mixer_bench.system import files
try:
    files.write(Path(sys.argv[1]), b"x" * 100_000)
except OSError as error:
    print(error.strerror)
"""


def test_a_full_disk_is_an_os_error_that_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "record.json"
    place.write_text("old", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(place)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )
    assert done.stdout.strip() == "File too large"
    assert place.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_a_reader_never_meets_half_a_file_while_writers_compete(tmp_path: Path) -> None:
    place, size = tmp_path / "file", 50_000
    files.write(place, b"a" * size)

    def work(letter: bytes) -> None:
        for _ in range(15):
            files.write(place, letter * size)

    writers = [threading.Thread(target=work, args=(letter,)) for letter in (b"b", b"c", b"d")]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        content = place.read_bytes()
        assert len(content) == size
        assert len(set(content)) == 1
        seen.add(content[:1])
    assert place.read_bytes()[:1] in {b"b", b"c", b"d"}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_there_is_kept_and_its_readers_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "features"
    for content in (b"first", b"second"):
        with files.writing(place, keep=True) as file:
            file.write(content)
        assert place.read_bytes() == b"first"
    before = place.stat().st_ino
    files.write(place, b"third")
    assert place.stat().st_ino != before
    assert [path.name for path in tmp_path.iterdir()] == ["features"]


def test_where_there_are_no_links_a_file_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    with files.writing(tmp_path / "features", keep=True) as file:
        file.write(b"whole")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("features", b"whole")]


@pytest.mark.parametrize("times", [1, 2])
def test_a_file_that_was_replaced_on_a_server_is_opened_once_more(tmp_path: Path, monkeypatch, times: int) -> None:
    (tmp_path / "note").write_bytes(b"whole")
    opened, stale = os.fdopen, iter([True] * times)

    class Stale:
        def __init__(self, handle: int, *rest: object, **more: object) -> None:
            self.file = opened(handle, *rest, **more)

        def __enter__(self) -> "Stale":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def readall(self) -> bytes:
            if next(stale, False):
                raise OSError(errno.ESTALE, "Stale file handle")
            return self.file.readall()

    monkeypatch.setattr(os, "fdopen", Stale)
    if times == 1:
        assert files.read(tmp_path / "note") == b"whole"
    else:
        with pytest.raises(OSError, match="Stale file handle"):
            files.read(tmp_path / "note")
