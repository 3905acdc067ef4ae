"""The verbs as functions: the flags' names and defaults, and the same results."""

import inspect
from pathlib import Path

import pytest
import typer
from rich.text import Text

import mixer_bench
from mixer_bench.cli import app
from mixer_bench.errors import MixerBenchError, ResultsError, UsageError
from mixer_bench.profile import profile as profiling
from mixer_bench.results.store import Store
from tests.builders import a_profile, a_run, right_of, save_answers

VERBS = {name.replace("-", "_"): verb for name, verb in typer.main.get_command(app.app).commands.items()}
# What steers the command line alone: where text goes, what is printed instead of done. ``check --update`` is a function
# of its own.
OF_THE_TERMINAL = {"as_json", "as_csv", "config", "show_config", "dry_run", "junit", "update"}
FUNCTIONS = sorted(mixer_bench._HOMES)
HELP = {name: [verb.help, *(parameter.help for parameter in verb.params)] for name, verb in VERBS.items()}
SHARED = sorted(VERBS.keys() & set(FUNCTIONS))


def test_every_verb_is_a_function() -> None:
    assert VERBS.keys() - set(FUNCTIONS) == set()


@pytest.mark.parametrize("verb", sorted(HELP))
def test_no_help_is_taken_for_the_terminals_markup(verb: str) -> None:
    for words in filter(None, HELP[verb]):
        assert Text.from_markup(words).plain == words


@pytest.mark.parametrize("verb", SHARED)
def test_a_function_takes_what_the_flags_say(verb: str) -> None:
    taken = inspect.signature(getattr(mixer_bench, verb)).parameters
    flags = {parameter.name: parameter for parameter in VERBS[verb].params if parameter.name not in OF_THE_TERMINAL}
    assert {name.replace("fmt", "format") for name in flags} == taken.keys() - {"colour"}  # the terminal decides it
    for name, flag in flags.items():
        default = taken[name.replace("fmt", "format")].default
        # Options that a model declares have no default as flags: their help says it.
        if flag.default is not None and not flag.required and name != "results":
            assert default == flag.default, name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_argument_is_documented(name: str) -> None:
    function = getattr(mixer_bench, name)
    for argument in inspect.signature(function).parameters:
        assert f"\n        {argument}: " in function.__doc__, argument


def test_a_room_takes_no_functions_name() -> None:
    import mixer_bench.compare.comparison
    import mixer_bench.report.report

    assert callable(mixer_bench.report)
    assert callable(mixer_bench.compare)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models, one wrong where the other is right on a third of the images."""
    for model, right in (("good", right_of(0)), ("bad", right_of(0, worse=0.3))):
        save_answers(tmp_path, a_run(model=model, weights=model), right)
    return tmp_path


def test_report_gives_its_text_and_what_it_does_not_hold(folder: Path, capsys) -> None:
    shown = mixer_bench.report(folder)
    assert (shown.records, shown.problems, shown.failures, shown.output) == (2, (), (), None)
    assert "good" in str(shown)
    assert capsys.readouterr() == ("", ""), "a function prints nothing"
    written = mixer_bench.report(folder, format="csv", output=folder / "table.csv")
    assert written.output.read_text() == written.text
    next(folder.glob("runs/*/bad/*.json")).write_text("{")
    assert len(mixer_bench.report(folder).problems) == 1
    assert "not a whole record" in capsys.readouterr().err


def test_without_a_folder_it_is_the_one_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXER_BENCH_RESULTS", str(folder))
    assert mixer_bench.report().records == 2
    assert len(mixer_bench.load_results()) == 2
    with pytest.raises(ResultsError, match="no records in"):
        mixer_bench.report(folder / "nothing")


def test_compare_and_check_are_values(folder: Path) -> None:
    (row,) = mixer_bench.compare("good", "bad", folder).rows
    assert (row.a > row.b, row.comparison.difference) == (True, pytest.approx(row.a - row.b))
    assert mixer_bench.update_baseline(folder / "base.json", folder) == 2
    assert mixer_bench.check(folder / "base.json", folder).passed
    next(folder.glob("runs/*/bad/*.json")).unlink()
    outcome = mixer_bench.check(folder / "base.json", folder)
    assert not outcome.passed
    with pytest.raises(UsageError, match="0 to 100"):
        mixer_bench.check(folder / "base.json", folder, min_drop=-1)


def test_merge_takes_text_for_folders(folder: Path, tmp_path_factory) -> None:
    into = tmp_path_factory.mktemp("into")
    assert mixer_bench.merge(f"{into}", [f"{folder}"]).copied == 2


def test_what_gets_ready_gives_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path))
    assert mixer_bench.prepare("digits", "pixels").models == ["pixels"]
    (finding,) = mixer_bench.doctor("digits").findings
    assert (finding.state, finding.prepared) == ("ok", "yes")
    with pytest.raises(UsageError, match="name what is to be prepared"):
        mixer_bench.prepare()
    with pytest.raises(MixerBenchError, match="did you mean include"):
        mixer_bench.doctor("digits", includ="tasks")


def test_a_forecast_is_of_what_run_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path / "cache"))
    request = {"task": "digits", "model": "pixels", "protocol": "fewshot", "shots": 1, "output_dir": tmp_path / "out"}
    told = mixer_bench.forecast(**request, seeds=2, limit=20)
    (piece,) = told.pieces
    assert (told.asked, told.missing, piece.task, piece.model) == (2, 2, "digits", "pixels")
    assert (told.unavailable, capsys.readouterr()) == ((), ("", "")), "a function prints nothing"
    assert not (tmp_path / "out").exists(), "nothing is done"
    mixer_bench.run(**request, seeds=1, limit=20)
    assert mixer_bench.forecast(**request, seeds=2, limit=20).missing == 1, "one of them is there now"


def test_profile_gives_what_it_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "measure", lambda job, *_: a_profile(model=job.model))
    (profile,) = mixer_bench.profile("vit_nano", device="cpu", output_dir=tmp_path)
    assert Store(tmp_path).profiles() == ([profile], [])
    with pytest.raises(UsageError, match="pixels has no network"):
        mixer_bench.profile("pixels", output_dir=tmp_path)


def test_explain_says_whether_a_record_is_current(folder: Path) -> None:
    key = a_run(model="good", weights="good").key
    with pytest.raises(UsageError, match="colours"):
        mixer_bench.explain(key, folder)


def test_list_and_show_give_cards() -> None:
    cards = {card["name"]: card for card in mixer_bench.list("models", family="mixer")}
    assert cards["mixer_b16"] == mixer_bench.show("model", "mixer_b16")
    assert {card["family"] for card in cards.values()} == {"mixer"}
    assert mixer_bench.show("protocol", "finetune", preset="vit-paper")["preset"]["name"] == "vit-paper"
    with pytest.raises(UsageError, match="did you mean"):
        mixer_bench.show("task", "clipar")


def test_a_star_import_hides_nothing_of_pythons() -> None:
    import builtins

    assert set(mixer_bench.__all__) & set(vars(builtins)) == set()
