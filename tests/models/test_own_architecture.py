"""An architecture of one's own, in a Python file: `--import my_net.py`."""

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from mixer_bench.cli import app
from mixer_bench.errors import UsageError
from mixer_bench.models import names, networks, timm_cards, weights
from mixer_bench.results.store import Store

EXAMPLE = Path(__file__).parent / "examples" / "my_net.py"
RUN = ["run", "--task", "digits", "--protocol", "fewshot", "--limit", "20", "--shots", "1", "--seeds", "1"]


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers with timm is forgotten after it."""
    registry = timm.models._registry
    for name, value in list(vars(registry).items()):
        if name.startswith("_mod") and isinstance(value, dict | set):
            monkeypatch.setattr(registry, name, copy.deepcopy(value))
    modules = set(sys.modules)
    yield
    for name in {name for name in sys.modules if name.startswith("imported_")} - modules:
        del sys.modules[name]


def renamed(folder: Path, name: str, extra: str = "") -> Path:
    """A copy of the example, which no other test has imported."""
    (folder / f"{name}.py").write_text(EXAMPLE.read_text().replace("my_net", name) + extra)
    return folder / f"{name}.py"


def test_the_example_runs_is_profiled_listed_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imports = ["--import", str(EXAMPLE)]
    timm_cards.import_file(EXAMPLE)
    trained = networks.build(names.card("random:my_net").architecture, 10, seed=3)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    models = ["--model", f"random:my_net,file:{tmp_path / 'w.safetensors'}?arch=my_net"]
    results = ["--output-dir", str(tmp_path)]
    assert app.main([*RUN, *imports, *models, *results]) == 0
    records = {record.run.model: record for record in Store(tmp_path).records()[0]}
    assert records.keys() == {"random:my_net", "file:w.safetensors?arch=my_net"}
    assert {record.run.preprocessing.resolution for record in records.values()} == {64}
    assert app.main(["profile", *imports, "--model", "random:my_net", "--batch-sizes", "1", *results]) == 0
    (profile,) = Store(tmp_path).profiles()[0]
    assert {profile.network} == {record.origin.network for record in records.values()}
    assert profile.parameters == 64 * (8 * 8 * 3 + 1)
    capsys.readouterr()
    assert app.main(["show", "model", "random:my_net", *imports, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["architecture"]["code"]) == 64
    assert app.main(["list", "models", *imports]) == 0
    assert "\nrandom:my_net " in capsys.readouterr().out


def test_what_the_file_says_is_part_of_the_identity(tmp_path: Path) -> None:
    identities = []
    for comment in ("", "# another line\n"):
        file = renamed(tmp_path, "one_net", comment)
        assert timm_cards.import_file(file) == timm_cards.import_file(file) == ["one_net"], "twice does no harm"
        identities.append(weights.identity(names.card("random:one_net")))
        timm.models._registry._model_entrypoints.pop("one_net")
    assert identities[0] != identities[1]


def test_a_network_registered_by_a_package_is_known_by_its_file_too(tmp_path: Path, monkeypatch) -> None:
    renamed(tmp_path, "packaged_net")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("packaged_net")
    assert names.card("random:packaged_net").architecture.code


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import no_such_library", r"cannot be imported \(ModuleNotFoundError: No module named 'no_such_library'\)"),
        ("def (", r"cannot be imported \(SyntaxError"),
        ("raise SystemExit(0)", r"cannot be imported \(SystemExit: 0"),
        ("x = 1", "registers no network; put timm.models.register_model"),
        ("resnet18 = EXAMPLE", r"the name is taken: Overwriting resnet18 in registry"),
        ("mixer_b16 = EXAMPLE", "mixer_b16: the zoo has a model of that name"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(content: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    if content is not None:
        name = content.partition(" = EXAMPLE")[0]
        file.write_text(EXAMPLE.read_text().replace("my_net", name) if "EXAMPLE" in content else content)
    before = timm.model_entrypoint("resnet18")
    for _ in range(2):
        with pytest.raises(UsageError, match=rf"^--import .*net\.py: .*{said}"):
            timm_cards.import_file(file)
    assert timm.model_entrypoint("resnet18") is before


def test_a_network_without_what_timms_have_is_refused(tmp_path: Path) -> None:
    file = renamed(tmp_path, "bare_net")
    file.write_text(file.read_text().replace("reset_classifier", "reset"))
    timm_cards.import_file(file)
    with pytest.raises(UsageError, match="bare_net has no reset_classifier, as networks of timm have"):
        networks.body(names.card("random:bare_net"), print)


def test_an_import_that_fails_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (RUN, ["profile"], ["list", "models"], ["show", "model", "pixels"]):
        more = ["--model", "pixels"] if verb[0] in ("run", "profile") else []
        assert app.main([*verb, *more, "--import", str(tmp_path / "no.py")]) == 2
        assert "no.py: cannot be read (No such file or directory)" in capsys.readouterr().err


def test_features_are_the_networks_own() -> None:
    timm_cards.import_file(EXAMPLE)
    network = networks.body(names.card("random:my_net"), print)
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 32)
