"""What Windows and macOS have not, as far as Linux can show it: locks, signals, forks, and names of files."""

import ast
import multiprocessing
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from mixer_bench.data import decoding, names
from mixer_bench.errors import DataError
from mixer_bench.executors import local, worker
from mixer_bench.models.names import card
from mixer_bench.results.store import Store
from mixer_bench.system import claims, files, paths, signals
from tests.builders import a_run

PACKAGE = Path(__file__).parent.parent.parent / "mixer_bench"
TEXTS = {file.relative_to(PACKAGE).as_posix(): file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py")}
MODULES = {name: ast.parse(text) for name, text in TEXTS.items()}
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = {  # the documentation of os and signal: "Availability: Unix"
    *(
        f"os.{name}"
        for name in ("O_DIRECTORY", "O_NONBLOCK", "chown", "fork", "getloadavg", "getuid", "killpg", "mkfifo")
    ),
    *(f"os.{name}" for name in ("nice", "posix_fadvise", "sched_getaffinity", "setsid", "statvfs", "sysconf", "uname")),
    *(f"signal.SIG{name}" for name in ("ALRM", "CHLD", "HUP", "KILL", "PIPE", "USR1", "USR2", "XFSZ")),
    *(f"signal.{name}" for name in ("alarm", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait")),
}
ON_LINUX_ALONE = {"executors/slurm.py"}


def test_what_a_system_may_lack_is_asked_for_first() -> None:
    unasked = []
    for name, tree in MODULES.items():
        imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        unasked += [f"{name} imports {module}" for module in imported & POSIX_MODULES]
        if not any(used in TEXTS[name] for used in POSIX_NAMES):
            continue
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            text = ast.unparse(function)
            for used in {used for used in POSIX_NAMES if used in text}:
                module, _, attribute = used.partition(".")
                if f"hasattr({module}, '{attribute}')" not in text and name not in ON_LINUX_ALONE:
                    unasked.append(f"{name}: {function.name} uses {used}")
    assert unasked == []


def test_text_has_an_encoding() -> None:
    bare = []
    for name, tree in MODULES.items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            named = {keyword.arg for keyword in call.keywords}
            method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            text = (method == "read_text" and not call.args) or (method == "write_text" and len(call.args) == 1)
            if (text or "text" in named) and "encoding" not in named:
                bare.append(f"{name}: {ast.unparse(call)}")
    assert bare == []


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without locks, whose files are not replaced while somebody reads them."""
    replace, refused = Path.replace, []

    def refusing(place: Path, target: Path) -> Path:
        opened = [*Path("/proc/self/fd").glob("*")]  # empty elsewhere than on Linux
        assert all(file.resolve() != place for file in opened), "it is open"
        if target not in refused:
            refused.append(target)
            raise PermissionError(13, "in use by another process", str(target))
        return replace(place, target)

    monkeypatch.setattr(files, "LOCKS", False)
    monkeypatch.setattr(files, "PAUSES", (0.0,))
    monkeypatch.setattr(Path, "replace", refusing)


@pytest.mark.usefixtures("windows")
def test_without_locks_files_are_written_whole_and_work_is_done(tmp_path: Path) -> None:
    place = tmp_path / "record.json"
    for content in ("first", "second"):
        files.write(place, content)
        assert place.read_text(encoding="utf-8") == content
    with files.writing(tmp_path / "mapped", keep=True) as opened:
        opened.write(b"x")
    with claims.claimed(place) as free, claims.claimed(place) as too:
        assert (free, too) == (True, True), "both do the work, which ends in whole files"
    assert list(claims.turns([place, place], print)) == [0, 1]
    files.tidy(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"mapped", "record.json"}


@pytest.mark.usefixtures("windows")
def test_what_stays_refused_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSES", ())
    with pytest.raises(PermissionError):
        files.write(tmp_path / "record.json", "x")
    assert list(tmp_path.iterdir()) == []


def test_signals_that_a_system_lacks_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIGHUP", "SIGUSR2"):
        monkeypatch.delattr(signal, name, raising=False)
    with signals.put_off() as caught:
        signal.raise_signal(signal.SIGTERM)
        assert caught == [signal.SIGTERM]
        caught.clear()
    with pytest.raises(signals.Terminated), signals.heard(signals.TERMINATING, signals.terminate):
        signal.raise_signal(signal.SIGTERM)


def test_a_worker_whose_driver_has_gone_ends_without_signals_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "pthread_kill", raising=False)
    working = threading.Event()
    working.set()
    listening = threading.Thread(target=worker._listen, args=((), worker.queue.SimpleQueue(), working))
    with pytest.raises(signals.Terminated), signals.heard(signals.TERMINATING, signals.terminate):
        listening.start()
        while True:
            time.sleep(0.01)


def test_the_fate_of_a_killed_process_needs_no_name_of_its_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGKILL", raising=False)
    assert "where memory runs out" in local._fate(-9)


@pytest.mark.parametrize("model", ["nul", "CON", "aux.b16", "timm:nul", "com1"])
def test_no_folder_has_a_name_of_a_device(tmp_path: Path, model: str) -> None:
    folder = Store(tmp_path).place(a_run(model=model), ".json").parent.name
    assert re.fullmatch(r"(?i)(con|prn|aux|nul|com\d)(\..*)?", folder) is None
    assert re.fullmatch(r'[^<>:"/\\|?*]+', folder)


@pytest.mark.parametrize(
    "place", ["C:/x", "C:x", "C:\\x", "\\x", "\\\\server\\share\\x", "a\\..\\..\\x", "/x", "a/../x", ""]
)
def test_drives_and_both_separators_lead_out(place: str) -> None:
    assert paths.leads_out(place)
    assert not paths.leads_out("a/b..c/d.png")


@pytest.mark.parametrize("sep", ["/", "\\"])
def test_a_folder_is_told_from_a_task_where_separators_are_two(sep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sep", sep)
    with pytest.raises(DataError, match="there is no such folder"):
        names.chosen_tasks(["./images"])
    assert [task.name for task in names.chosen_tasks(["vtab/pets"])] == ["vtab/pets"]


def test_a_record_has_no_folder_of_windows_either() -> None:
    weights = r"file:C:\Users\me\mine.safetensors"
    assert card("mixer_nano").model_copy(update={"weights": weights}).source == "file:mine.safetensors"


SPAWNED = """
import numpy
from mixer_bench.data import decoding
images = [numpy.full((2, 2, 3), value, numpy.uint8) for value in range(3)]
answer.put([int(total) for total in decoding.pool().map(numpy.sum, images)])
"""


def test_the_pool_works_in_a_process_that_was_spawned() -> None:
    assert list(decoding.pool().map(abs, [-1])) == [1], "threads of this process are no one else's"
    spawning = multiprocessing.get_context("spawn")
    answer = spawning.SimpleQueue()
    process = spawning.Process(target=exec, args=(SPAWNED, {"answer": answer}))
    process.start()
    process.join(60)
    assert (process.exitcode, answer.get()) == (0, [0, 12, 24])
