"""Fixtures of all tests: a toy task, and a terminal and cache of the test's own."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from mixer_bench.data.examples import TaskData
from tests.builders import colours
from tests.loopback import Hub, User

settings.register_profile("no clock", deadline=None)  # a busy machine is no fault
settings.load_profile("no clock")

gc.disable()  # until all is loaded: it looks through millions of objects again and again, of which none goes


def pytest_configure(config: pytest.Config) -> None:
    """Give libraries, which read this as they are imported, a folder that goes, not the user's cache."""
    for name in [name for name in os.environ if name.startswith("HF_")]:
        del os.environ[name]
    folder = tempfile.mkdtemp()
    os.environ["HF_HOME"] = os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if os.name != "posix" and item.get_closest_marker("posix"):
        pytest.skip("needs a POSIX system")


@pytest.fixture
def task_data() -> TaskData:
    return colours()


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    """Somebody with an empty hub and an empty machine."""
    for name in ("home", "hub"):
        (tmp_path / name).mkdir()
    with Hub(tmp_path / "hub") as hub:
        yield User(hub, tmp_path / "home")


# What a terminal, a CI service, a launcher of processes or a user's shell may have set, and some code here reads.
FOREIGN = ("FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "TERM", "LINES", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")
FOREIGN += ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
FOREIGN += ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_CACHE", "CUDA_VISIBLE_DEVICES", "PYTHONWARNINGS")


@pytest.fixture(autouse=True)
def own_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as in a file, and nothing else of the shell that runs the tests is seen by them."""
    monkeypatch.setenv("COLUMNS", "100")
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test reads or fills the user's own cache."""
    cache = tmp_path_factory.mktemp("cache")
    for name in [name for name in os.environ if name.startswith(("MIXER_BENCH_", "TRACKIO_", "WANDB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # set by --offline and doctor; the next test must not inherit it
    for scheme in ("http", "https"):  # no test reaches the makers' servers; loopback is all there is
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setenv("TFDS_DATA_DIR", str(cache / "tfds"))
    yield
    shutil.rmtree(cache, ignore_errors=True)


@pytest.fixture
def quick_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are measured for a moment only: what a plan says of time is not tested here."""
    monkeypatch.setattr("mixer_bench.runs.speeds.LONGEST", 0.02)
