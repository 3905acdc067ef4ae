"""What works where PyTorch and what belongs to it are not installed, and what the rest says then."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixer_bench.results.store import Store
from mixer_bench.system import packages
from tests.builders import a_profile, a_run, right_of, save_answers
from tests.light import Light, process

ROOT = Path(__file__).parent.parent
USING = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
LIST = USING.partition("    pip install --no-deps mixer-bench && pip install ")[2].partition("\n\n")[0]
ENOUGH = set(LIST.replace("\\\n", " ").split())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ALL = {re.split(r"[<>=]", requirement)[0] for requirement in PROJECT["dependencies"]}
MISSING = {name.replace("-", "_").replace("scikit_learn", "sklearn") for name in ALL - ENOUGH}
SLOW = {"pandas", "matplotlib"}  # installed, but it takes a second until they are loaded
SAYS = "is needed for this and not installed here; install all that is missing: pip install mixer-bench"

QUICK = [
    "--help",
    "run --help",
    "run --show-config",
    "prepare --help",
    "doctor --help",
    "profile --help",
    "recommend --help",
    "audit --help",
    "compare a b --help",
    "merge --help",
    "predict --help",
    "show protocol finetune",
    "list tasks",
    "list models",
    "list protocols",
    "show task vtab/pets",
    "show model mixer_nano",
    "show protocol fewshot",
    "merge RESULTS/merged RESULTS",
]
LIGHT = [
    "--version",
    "report --results RESULTS",
    *(f"report --results RESULTS --format {name}" for name in ("markdown", "csv", "latex", "html", "json")),
    "report --results RESULTS --figures RESULTS/figures",
    *(f"report --results RESULTS --format {name} --output RESULTS/{name}" for name in ("model-card", "eee-samples")),
    "compare mixer_nano pixels --results RESULTS",
    "compare mixer_nano --protocols knn,fewshot --results RESULTS",
    "check RESULTS/baseline.json --results RESULTS --update",
    "check RESULTS/baseline.json --results RESULTS",
    "per-class RECORD",
    "doctor --task digits",
    "doctor --task digits --json",
]
HEAVY = [
    "report --results RESULTS --format parquet --output RESULTS/report.parquet",
    "run --task digits --model pixels --output-dir RESULTS/new",
    "run --task digits --model pixels --protocol linear --dry-run",
    "recommend digits --output-dir RESULTS/new",
    "profile --model mixer_nano --output-dir RESULTS/new",
    "pretrain mixer_nano --data IMAGES --output RESULTS/new",
    "audit digits --model pixels",
    "export RECORD --to RESULTS/exported",
    "predict RESULTS/exported IMAGES",
    "prepare --model mixer_nano",
    "show model timm:vit_tiny_patch16_224.augreg_in21k",
]


@pytest.fixture(scope="module")
def light() -> Iterator[Light]:
    with process() as started:
        yield started


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light")
    for model in ("mixer_nano", "pixels"):
        for protocol, config in (("fewshot", {"shots": 5, "l2": [1024.0]}), ("knn", {"k": [1]})):
            run = a_run(model=model, task="digits", protocol=protocol, config=config, limit=20)
            save_answers(folder, run, right_of(0))
    save_answers(folder, a_run(model="mixer_nano", task="vtab/pets"), right_of(0))  # whose images are not here
    Store(folder).save_profile(a_profile(model="mixer_nano"))
    return folder


def words(command: str, results: Path) -> list[str]:
    record = next((results / "runs" / "digits").rglob("*.json"))
    places = {"RESULTS": results, "RECORD": record, "IMAGES": ROOT / "docs"}
    return [re.sub("[A-Z]{6,}", lambda name: str(places[name[0]]), word) for word in command.split()]


def test_what_is_left_out_is_what_takes_the_space() -> None:
    assert ENOUGH < ALL
    assert {"torch", "torchvision", "timm", "datasets", "simplejpeg", "sklearn"} <= MISSING


@pytest.mark.parametrize("command", QUICK)
def test_quick_verbs_load_nothing_that_takes_long(command: str, light: Light, results: Path) -> None:
    said = light.ask(MISSING | SLOW, words(command, results))
    assert said.code == 0, said.words


@pytest.mark.parametrize("command", LIGHT)
def test_light_verbs_need_no_torch(command: str, light: Light, results: Path) -> None:
    said = light.ask(MISSING, words(command, results))
    assert said.code == 0, said.words


def test_explain_needs_no_torch(light: Light, results: Path) -> None:
    said = light.ask(MISSING, words("explain RECORD", results))
    assert said.code == 1
    assert "stale" in said.words


@pytest.mark.parametrize("command", HEAVY)
def test_the_others_say_how_to_install_what_they_need(command: str, light: Light, results: Path) -> None:
    said = light.ask(MISSING, words(command, results))
    assert said.code == 2, said.words
    assert re.search(rf"^error: (torch|timm|sklearn|pyarrow) {SAYS}$", said.words, re.MULTILINE)
    assert "Traceback" not in said.words
    assert not (results / "new" / "runs").exists(), "what is not installed is no failure of a run"


def test_the_functions_do_as_the_verbs(light: Light, results: Path) -> None:
    said = light.ask(
        MISSING,
        "import pickle, mixer_bench\n"
        f"place = {str(results)!r}\n"
        "assert len(mixer_bench.load_results(place)) == 5\n"
        "assert 'digits' in str(mixer_bench.report(place))\n"
        "assert mixer_bench.compare('mixer_nano', 'pixels', place).rows\n"
        "mixer_bench.update_baseline(place + '/python.json', place)\n"
        "assert mixer_bench.check(place + '/python.json', place).passed\n"
        "assert pickle.loads(pickle.dumps(mixer_bench.list)) is mixer_bench.list\n"
        "for heavy in (lambda: mixer_bench.load_model('pixels'), lambda: mixer_bench.recommend('digits')):\n"
        "    try:\n"
        "        heavy()\n"
        "    except mixer_bench.errors.UsageError as error:\n"
        "        print(error)\n",
    )
    assert said.code == 0, said.words
    assert said.words.count(SAYS) == 2


@pytest.mark.parametrize("name", ["mixer_bench.gone", "mixer_bench", "torch._C", "_lzma", None])
def test_what_pip_would_not_bring_stays_the_error_that_it_is(name: str | None) -> None:
    with pytest.raises(ModuleNotFoundError), packages.needed():
        raise ModuleNotFoundError("gone", name=name)
