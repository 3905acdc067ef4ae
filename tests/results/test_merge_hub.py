"""Results folders of the hub: fetched once, at one commit, and believed no more than a disk's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from mixer_bench.cli import app
from mixer_bench.results.store import Store
from tests.builders import a_profile, a_run, right_of, save_answers
from tests.loopback import Hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """This process's hub, with the data set lab/scores, whose folder 2026 holds results."""
    with Hub(tmp_path / "hub") as hub:
        address = f"http://127.0.0.1:{hub.server_port}"
        values = {"ENDPOINT": address, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": True}
        values["HUGGINGFACE_CO_URL_TEMPLATE"] = address + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in values.items():
            monkeypatch.setattr(constants, name, value)
        folder = hub.root / "datasets" / "lab" / "scores" / "2026"
        for seed in range(2):
            save_answers(folder, a_run(seed=seed, task="a task [x]"), right_of(seed))
        Store(folder).save_profile(a_profile())
        (folder / "runs" / "notes.txt").write_text("no part of it", encoding="utf-8")
        hub.gated.add("lab/locked")
        yield hub


def commit(hub: Hub) -> str:
    return hub.commit(hub.root / "datasets" / "lab" / "scores")


def taken(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_a_folder_of_the_hub_is_taken_up_and_its_commit_told(hub: Hub, tmp_path: Path, capsys) -> None:
    into = ["merge", str(tmp_path / "a")]
    assert app.main([*into, "hf:lab/scores/2026"]) == 0
    fetched = f"hf:lab/scores@{commit(hub)}/2026"
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("2 records, 0 failures and 1 profiles copied to")
    assert second == f"fetched: {fetched}"
    there = taken(hub.root / "datasets" / "lab" / "scores" / "2026")
    del there["runs/notes.txt"]
    assert taken(tmp_path / "a") == there
    assert "datasets/lab/scores/2026/runs/notes.txt" not in hub.sent

    hub.requests.clear()
    for source in ("hf:lab/scores/2026", "hf:lab/scores@main/2026/"):
        assert app.main([*into, source, "--offline", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["present"], told["fetched"]) == (2, [fetched])
    assert hub.requests == []
    assert app.main([*into, fetched]) == 0, "a commit of which nothing is noted is asked for"
    assert app.main([*into, fetched, "--offline"]) == 0
    assert app.main(["merge", str(tmp_path / "b"), "hf:lab/scores@" + "0" * 40]) == 3
    assert "lab/scores has no revision 0000000000" in capsys.readouterr().err


def test_its_records_are_checked_as_those_of_a_disk(hub: Hub, tmp_path: Path, capsys) -> None:
    folder = hub.root / "datasets" / "lab" / "scores" / "2026"
    changed, gone = sorted(folder.glob("runs/*/*/*.json"))
    changed.write_text(changed.read_text(encoding="utf-8").replace('"n_test": 600', '"n_test": 601'), encoding="utf-8")
    gone.with_suffix(".npz").unlink()
    assert app.main(["merge", str(tmp_path / "a"), "hf:lab/scores/2026"]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("0 records, 0 failures and 1 profiles")
    place = f"error: hf:lab/scores@{commit(hub)}/2026/{changed.relative_to(folder).as_posix()}: not a whole record"
    assert place in shown.err
    assert "no predictions" in shown.err
    assert str(tmp_path / "cache") not in shown.err


def test_a_file_that_is_not_what_the_hub_says_is_refused(hub: Hub, tmp_path: Path, capsys) -> None:
    command = ["merge", str(tmp_path / "a"), "hf:lab/scores/2026"]
    assert app.main(command) == 0
    for suffix in ("json", "npz"):
        file = next((tmp_path / "cache").glob(f"*/snapshots/*/2026/runs/*/*/*.{suffix}"))
        before = file.read_bytes()
        file.resolve().write_bytes(before[:-1] + b"?")
        assert app.main(command) == 3
        assert f"{file.name} is not what the hub says; remove" in capsys.readouterr().err
        file.resolve().write_bytes(before)


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("hf:lab", 2, "hf:lab: not of the form hf:owner/name, hf:owner/name@revision"),
        ("hf:lab/scores@/x", 2, "not of the form"),
        ("hf:lab/scores/../../x", 2, "neither runs nor profiles"),
        ("hf:lab/scores", 2, "neither runs nor profiles"),
        ("hf:lab/locked", 3, "lab/locked is gated: accept its terms at https://huggingface.co/datasets/lab/locked"),
        ("hf:lab/nothing", 3, "lab/nothing: the hub has no such data set, or it is private"),
    ],
)
def test_what_is_no_results_folder_is_said(
    hub: Hub, tmp_path: Path, source: str, code: int, words: str, capsys
) -> None:
    assert app.main(["merge", str(tmp_path / "a"), source]) == code
    assert words in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_without_a_network_it_is_not_asked_for(hub: Hub, tmp_path: Path, capsys) -> None:
    assert app.main(["merge", str(tmp_path / "a"), "hf:lab/scores/2026", "--offline"]) == 3
    assert "lab/scores was not fetched yet, and the network is not to be used" in capsys.readouterr().err
    assert hub.requests == []
