"""Compiled networks: one graph for all tasks of an architecture, the features of the eager network, clear refusals."""

import contextlib
import copy
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from mixer_bench.cli import app
from mixer_bench.errors import UsageError
from mixer_bench.models import backbone, compiling, names, networks
from mixer_bench.models.card import Architecture
from mixer_bench.results.store import Store
from mixer_bench.system.processes import World
from mixer_bench.training import distributed
from mixer_bench.training.network import Trainable

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def without_a_compiler(monkeypatch) -> None:
    """torch's capture alone, which is what counts graphs: no machine code is made."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    torch.compiler.reset()
    counters.clear()


def graphs() -> int:
    return counters["stats"]["unique_graphs"]


def tiny(name: str, **changes: object) -> Architecture:
    """A card's architecture with as few blocks as there can be."""
    architecture = names.card(name).architecture
    assert architecture is not None
    fewer = {"mixer_nano": {"num_blocks": 1}, "vit_nano": {"depth": 1}, "resnet_nano": {"layers": (1, 1)}}[name]
    return architecture.model_copy(update={"args": {**architecture.args, **fewer, **changes}})


@pytest.mark.parametrize(("name", "tasks"), [("mixer_nano", 10), ("vit_nano", 2), ("resnet_nano", 2)])
def test_all_tasks_of_an_architecture_share_one_graph_of_training_and_one_of_judging(name: str, tasks: int) -> None:
    body = networks.headless(networks.build(tiny(name), 1))
    images = torch.randn(5, 3, 64, 64)
    last = None
    for classes in range(2, 2 + tasks):
        eager = networks.with_classifier(copy.deepcopy(body), tiny(name), classes)
        network = compiling.compiled(copy.deepcopy(eager), name)
        network.train()(images).sum().backward()
        with torch.inference_mode():
            network.eval(), eager.eval().load_state_dict(network.state_dict())
            judged = images.clone(memory_format=torch.channels_last)
            for count in (5, 3, 1):  # a batch that is not full
                torch.testing.assert_close(network(judged[:count]), eager(judged[:count]), rtol=1e-4, atol=1e-5)
        assert last is None or last() is None, "the one before is held by nothing"
        last = weakref.ref(network)
        assert graphs() == 2
        del network
    assert not counters["graph_break"]
    assert last() is None


def test_more_kinds_of_network_than_torch_would_compile_are_all_compiled() -> None:
    """Beyond its limit torch would go on without compiling, after a warning: here with a limit of one."""
    for number in range(3):
        side = 16 + 16 * number
        network = networks.headless(networks.build(tiny("mixer_nano", img_size=side, patch_size=16), 1)).eval()
        with torch._dynamo.config.patch(recompile_limit=1):
            compiling.compiled(network, "mixer")(torch.zeros(1, 3, side, side))
        assert graphs() == number + 1


def test_more_than_it_compiles_is_an_error_and_never_eager(monkeypatch) -> None:
    monkeypatch.setitem(compiling.LIMITS, "recompile_limit", 1)
    network = compiling.compiled(networks.build(tiny("mixer_nano"), 2), "mixer_nano")
    network(torch.zeros(1, 3, 64, 64))
    with pytest.raises(Exception, match="recompile_limit"):
        network(torch.zeros(2, 3, 64, 64))


def test_features_are_those_of_the_eager_network() -> None:
    card = names.card("mixer_nano")
    squares = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    eager, compiled = (
        backbone.load(card, card.preprocessing, CPU, "bf16", compile_it=wanted) for wanted in (False, True)
    )
    for part in (squares[:16], squares[16:]):
        np.testing.assert_allclose(compiled.features(part), eager.features(part), rtol=1e-4, atol=1e-5)
    assert graphs() == 1, "what is compared in fp32 is not compiled"


class Whole(nn.Module):
    """A network whose classifier is not apart."""


def test_a_network_whose_classifier_is_not_apart_is_refused() -> None:
    with pytest.raises(UsageError, match="own has no forward_features, as timm's networks have"):
        compiling.compiled(Whole(), "own")


def broken(*_: object) -> None:
    raise RuntimeError("No working C++ compiler found\nand much more")


@pytest.mark.parametrize("verb", ["run", "profile"])
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("compiler", "here (No working C++ compiler found); install a C++"),
        ("permission", "torch.compile is switched off; unset TORCH"),
    ],
)
def test_where_nothing_can_be_compiled_the_verb_ends_with_2(verb, missing, said, tmp_path, monkeypatch, capsys) -> None:
    if missing == "compiler":
        monkeypatch.setattr(compiling, "BACKEND", broken)
    command = [verb, "--model", "mixer_nano", "--output-dir", str(tmp_path), "--device", "cpu", "--compile"]
    command += ["--task", "digits", "--limit", "20", "--protocol", "knn"] if verb == "run" else []
    with torch.compiler.set_stance("default" if missing == "compiler" else "force_eager"):
        assert app.main(command) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "--compile" in line]
    assert said in line
    assert not list(tmp_path.rglob("*.json"))


def test_records_say_that_networks_were_compiled(tmp_path: Path) -> None:
    command = ["run", "--task", "digits", "--limit", "20", "--model", "mixer_nano", "--protocol", "knn"]
    command += ["--device", "cpu", "--output-dir", str(tmp_path)]
    assert app.main([*command, "--compile"]) == 0
    assert graphs() == 1 + 1, "the one that is tried first"
    (record,) = Store(tmp_path).records()[0]
    assert record.environment["networks"] == "compiled"
    assert record.cost.throughput_on.endswith(", compiled")
    # Like the device that they came from, it is no part of what features are.
    assert app.main([*command, "--overwrite", "always"]) == 0
    (again,) = Store(tmp_path).records()[0]
    assert (again.environment["networks"], again.extraction_environment["networks"]) == ("eager", "compiled")
    assert again.cost.throughput_on.endswith(", compiled")


def test_batches_that_several_processes_normalise_are_not_compiled(monkeypatch) -> None:
    """What they exchange at each layer is no part of a graph: all would run eagerly, and be told to be compiled."""
    monkeypatch.setattr(distributed, "world", lambda: World(0, 2))
    for name, refused in (("random:resnet10t", True), ("mixer_nano", False)):
        card = names.card(name)
        model = Trainable(card, card.preprocessing, CPU, "fp32", "", Path(), print, compiling=True)
        with pytest.raises(UsageError, match="normalises by batches") if refused else contextlib.nullcontext():
            model.compiled(model.network(2))
