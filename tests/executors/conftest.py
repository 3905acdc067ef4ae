"""What several tests of executors ask for, and what one process makes of it."""

from pathlib import Path

import pytest

from mixer_bench.cli import app
from mixer_bench.executors import driver
from tests.builders import set_flags

ASKED = ["run", "--task", "embedded", "--model", "resnet_nano,pixels", "--limit", "20", "--seeds", "2"]
ASKED += ["--protocol", "fewshot,knn", "--shots", "1"]
TRAINING = [
    "run",
    "--task",
    "digits",
    "--model",
    "resnet_nano",
    "--limit",
    "24",
    "--seeds",
    "2",
    "--protocol",
    "finetune",
]
TRAINING += set_flags("steps=6", "warmup=1", "batch_size=8", "learning_rates=0.01")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(driver, "PAUSE", 0.05)
    return tmp_path


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIXER_BENCH_CACHE", str(folder / "cache"))
        assert app.main([*ASKED, "--output-dir", str(folder)]) == 0
        assert app.main([*TRAINING, "--output-dir", str(folder / "trained")]) == 0
    return folder
