"""Protocols of other packages: a frozen probe and a trained one by the command line, and broken ones."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mixer_bench import protocols
from mixer_bench.cli import app
from mixer_bench.models import checkpoints, names, networks
from mixer_bench.results.store import Store
from tests.builders import install

EXAMPLES = Path(__file__).parent / "examples"
POINTS = {name: name for name in ("bitfit", "centroid", "eager", "odd")} | {
    "gone": "no_such",
    "bare": "json",
    "knn": "bare",
}
EAGER = """
from centroid import Config, fit
from mixer_bench.protocols.base import Protocol
PROTOCOL = Protocol(1, Config, fit, trains=True)
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that adds protocols, installed as pip would do it."""
    site = tmp_path / "site"
    shutil.copytree(EXAMPLES, site)
    (site / "eager.py").write_text(EAGER, encoding="utf-8")
    (site / "odd.py").write_text("PROTOCOL = 1", encoding="utf-8")
    install(site, "more-protocols", protocols.GROUP, POINTS)
    monkeypatch.syspath_prepend(site)
    for cached in (protocols.get, protocols.names):
        cached.cache_clear()
    yield
    for cached in (protocols.get, protocols.names):
        cached.cache_clear()


def test_a_frozen_probe_and_a_trained_protocol_of_another_package_run(tmp_path: Path, capsys, quick_speeds) -> None:
    command = ["run", "--task", "digits", "--model", "mixer_nano", "--limit", "60", "--seeds", "2", "--save-model"]
    command += ["--protocol", "centroid,bitfit", "--set", "steps=12", "--set", "batch_size=16"]
    command += ["--set", "learning_rates=0.03,0.1", "--set", "warmup=2", "--output-dir", str(tmp_path)]
    assert app.main([*command, "--dry-run"]) == 0
    assert " 768 " in capsys.readouterr().err, "trained on: two rates once, then two seeds, 12 steps of 16"
    assert app.main(command) == 0
    store = Store(tmp_path)
    records = store.records()[0]
    assert sorted((record.run.protocol, record.run.seed) for record in records) == [
        ("bitfit", 0),
        ("bitfit", 1),
        ("centroid", 0),
    ]
    trained = next(record for record in records if record.run.protocol == "bitfit")
    assert trained.selection.grid == (0.03, 0.1)
    assert trained.curve[-1][1] < trained.curve[0][1]
    before = networks.body(names.card("mixer_nano"), print).state_dict()
    after = checkpoints.read(store.place(trained.run, ".safetensors"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.endswith(".bias") for name in moved)
    assert after["head.weight"].any()
    assert app.main(["report", "--results", str(tmp_path)]) == 0
    assert "bitfit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "cannot be imported (ModuleNotFoundError"),
        ("bare", "has no PROTOCOL"),
        ("eager", "a protocol that trains must say its cost"),
        ("knn", "mixer-bench has one of that name"),
        ("odd", "PROTOCOL must be a Protocol, not 1"),
    ],
)
def test_one_that_breaks_the_contract_is_named_with_its_package(name: str, said: str, tmp_path: Path, capsys) -> None:
    command = ["run", "--task", "digits", "--model", "pixels", "--limit", "20", "--output-dir", str(tmp_path)]
    assert app.main([*command, "--protocol", name]) == 2
    error = capsys.readouterr().err
    assert f"protocol '{name}' of package more-protocols 1.0" in error
    assert said in error
    assert app.main([*command, "--protocol", "centroid"]) == 0, "the others work"
    assert app.main(["list", "protocols"]) == 0
    listed = capsys.readouterr().out
    assert "Nearest class mean" in listed
    assert "L2-regularised logistic regression" in listed
