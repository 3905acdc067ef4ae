"""Simulated: somebody edits the code, and has an old results folder and a warm cache. The gate must notice."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixer_bench.cli import app
from mixer_bench.results.store import Store
from tests import spawner
from tests.builders import set_flags

ROOT = Path(__file__).parents[2]
EDITS = {  # what is edited: file, before, after, concern
    "the mean": ("models/backbone.py", "preprocessing.mean", "tuple(0.4 for _ in preprocessing.mean)", "networks"),
    "the crop": (
        "models/preprocessing.py",
        "int(self.resolution / self.crop_pct)",
        "int(1.1 * self.resolution)",
        "pixels",
    ),
}


@dataclass(frozen=True)
class Checkout:
    """A copy of the program with a results folder, and a cache that all copies share."""

    folder: Path

    def edited(self, folder: Path, file: str, before: str, after: str) -> "Checkout":
        """A copy in which a piece of text is another."""
        shutil.copytree(self.folder, folder, symlinks=True)
        place = folder / "mixer_bench" / file
        text = place.read_text(encoding="utf-8")
        assert before in text, f"{file} no longer says {before!r}: name another edit"
        place.write_text(text.replace(before, after), encoding="utf-8")
        return Checkout(folder)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess:
        environment = {
            **{name: value for name, value in os.environ.items() if name != "GITHUB_STEP_SUMMARY"},
            "PYTHONPATH": str(self.folder),
            "MIXER_BENCH_CACHE": str(self.folder.parent / "cache"),
            "MIXER_BENCH_RESULTS": str(self.folder / "results"),
        }
        return spawner.run(arguments, environment, self.folder)

    @property
    def asked(self) -> list[str]:
        images, model = str(self.folder.parent / "images"), "mixer_nano"
        return ["--task", images, "--model", model, "--protocol", "fewshot", "--shots", "2", "--device", "cpu"]

    def run(self, *more: str) -> Mapping[str, int]:
        """Run and return the summary."""
        done = self("run", *self.asked, "--json", *more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def scores(self) -> np.ndarray:
        """The score of each answer, [S, N]."""
        store = Store(self.folder / "results")
        records, problems = store.records()
        assert (len(records), problems) == (3, [])
        return np.stack([store.predictions(record).score for record in records])


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A program that has measured, and a baseline of that."""
    home = tmp_path_factory.mktemp("evidence")
    generator = np.random.default_rng(0)
    for label in ("ant", "bee", "cat"):
        (home / "images" / label).mkdir(parents=True)
        for number in range(20):
            pixels = generator.integers(0, 255, (40, 90, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(home / "images" / label / f"{number}.png")
    program = Checkout(home / "program")
    shutil.copytree(ROOT / "mixer_bench", program.folder / "mixer_bench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tasks", program.folder / "tasks")
    assert program.run()["finished"] == 3
    assert program("check", "baseline.json", "--update").returncode == 0
    assert program("check", "baseline.json").returncode == 0
    return program


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edit_is_noticed_in_an_old_folder_with_a_warm_cache(checkout: Checkout, tmp_path: Path, edit) -> None:
    *change, concern = edit
    program = checkout.edited(checkout.folder.parent / tmp_path.name, *change)
    before = program.scores()
    told = program("run", *program.asked).stderr
    assert "all 3 runs are there already" in told
    assert "3 runs that were there were made by other code than is installed; --fresh does all" in told
    noticed = program("check", "baseline.json")
    assert noticed.returncode == 1
    assert f"3 of 3 runs of the results were made by other code than is installed ({concern})" in " ".join(
        noticed.stdout.split()
    )
    again = program.run("--fresh")
    assert (again["finished"], again["images"]) == (3, 60)
    assert "not evidence" not in program("check", "baseline.json").stdout
    assert not np.array_equal(program.scores(), before)


def test_features_of_other_code_are_not_taken_from_a_warm_cache(checkout: Checkout, tmp_path: Path) -> None:
    assert checkout.run("--output-dir", str(tmp_path / "new"))["images"] == 0
    edit = ("models/backbone.py", "preprocessing.std", "tuple(0.3 for _ in preprocessing.std)")
    edited = checkout.edited(checkout.folder.parent / tmp_path.name, *edit)
    assert edited.run("--output-dir", str(tmp_path / "edited"))["images"] == 60


def test_fresh_takes_nothing_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "cache"))
    asked = ["--task", "digits", "--limit", "20", "--model", "random:mixer_nano", "--protocol", "fewshot,finetune"]
    asked += ["--shots", "1", "--seeds", "2", "--json", "--output-dir", str(tmp_path / "results")]
    asked += set_flags("steps=2", "warmup=0", "batch_size=4", "learning_rates=0.01,0.02")

    def done(*more: str) -> tuple[int, int, int]:
        capsys.readouterr()
        assert app.main(["run", *asked, *more]) == 0
        summary = json.loads(capsys.readouterr().out)
        return summary["finished"], summary["images"], summary["trained_images"]

    searched = trained = 2 * 2 * 4  # rates or seeds, steps, images
    assert done() == (4, 60, searched + trained)
    assert done() == (0, 0, 0)
    assert done("--overwrite", "always") == (4, 0, trained)
    assert done("--fresh") == done("--fresh") == (4, 60, searched + trained)
    assert app.main(["run", *asked, "--fresh", "--overwrite", "never"]) == 2
    assert "--fresh does every run again" in capsys.readouterr().err
