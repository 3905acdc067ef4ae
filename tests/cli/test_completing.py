"""What a shell completes, by the way that a shell asks."""

import pytest
import typer.main

from mixer_bench.cli import app


@pytest.mark.parametrize(
    ("words", "begun", "expected"),
    [
        ([], "re", ["recommend", "report"]),
        (["run"], "--prot", ["--protocol"]),
        (["show"], "mo", ["model"]),
        (["run", "--task"], "clip", ["clipart"]),
        (["run", "--task"], "digits,vtab/nat", ["digits,vtab/natural"]),
        (["prepare", "-m"], "vit_na", ["vit_nano"]),
        (["run", "--protocol"], "few", ["fewshot"]),
        (["run", "--precision"], "b", ["bf16"]),
        (["show", "task"], "vtab/pe", ["vtab/pets"]),
        (["show", "model"], "pix", ["pixels"]),
        (["compare", "pixels"], "resnet_na", ["resnet_nano"]),
        (["rep"], "--no-such", []),
        (["show", "nothing"], "vtab", []),
    ],
)
def test_verbs_options_choices_and_names_are_completed(
    words: list[str], begun: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("_MIXER_BENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", " ".join(["mixer-bench", *words, begun]))
    monkeypatch.setenv("COMP_CWORD", str(1 + len(words)))
    with pytest.raises(SystemExit):
        typer.main.get_command(app.app)(prog_name="mixer-bench")
    assert capsys.readouterr().out.split() == expected
