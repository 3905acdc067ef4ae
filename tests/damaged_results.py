"""Files that the program writes for itself, each made sound in a folder and read as the commands read it."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import tests.builders as build
from mixer_bench.cli import app
from mixer_bench.data import loading, manifest
from mixer_bench.data.examples import Examples
from mixer_bench.data.names import chosen_tasks
from mixer_bench.data.readers import files, hub_files, sound
from mixer_bench.data.rows import Rows
from mixer_bench.errors import DataError, ResultsError
from mixer_bench.export import folder as export_folder
from mixer_bench.gate import baseline
from mixer_bench.results import kept, probes
from mixer_bench.results.answers import Reader
from mixer_bench.results.probes import Affine
from mixer_bench.results.store import Store, read_failure
from mixer_bench.runs.features import CachedFeatures, Computer, Network
from mixer_bench.system import schema
from mixer_bench.task.sources import HubSource
from mixer_bench.training import search
from mixer_bench.training.checkpoint import Checkpoint, Progress
from tests.damage import Kind

CLASSES = ("ants", "bees", "cats")
A_CLASS = 6


class Recomputed(Exception):
    """What was kept is not used."""


def _command(*arguments: str) -> tuple[int, str]:
    """Run a command here; return its exit code and what it printed, errors of its own raised as ResultsError."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = app.main([*arguments])
    return code, out.getvalue() + err.getvalue()


# --- results


def _of_store(folder: Path, read: Callable[[Store], Any]) -> Callable[[], object]:
    """Read a store's only file of a kind; its problem is the refusal. What is another is shown in every format."""
    store = Store(folder)
    (first,), _ = read(store)
    sound_one = first.model_dump()

    def reading() -> object:
        values, problems = read(store)
        if problems:
            raise ResultsError(problems[0])
        if not values:
            raise ResultsError(f"no file is seen in {[*folder.rglob('*')]}")
        if values[0].model_dump() != sound_one:
            for shown in ("table", "json", "html", "latex", "csv", "markdown"):
                code, said = _command("report", "--results", str(folder), "--format", shown)
                if code not in (0, 1) or "Traceback" in said:
                    raise AssertionError(f"report --format {shown} ends with {code}: {said}")
        return values[0].model_dump_json()

    return reading


def record(folder: Path) -> Kind:
    file = build.save_answers(folder, build.a_run(), build.right_of(0))
    return Kind("record", file, _of_store(folder, Store.records), checked=True)


def profile(folder: Path) -> Kind:
    file = Store(folder).save_profile(build.a_profile())
    return Kind("profile", file, _of_store(folder, Store.profiles), checked=True)


def failure(folder: Path) -> Kind:
    file = Store(folder).save_failure(build.a_run(), ValueError("it broke"))
    return Kind("failure", file, lambda: read_failure(file).model_dump_json(), checked=True)


def predictions(folder: Path) -> Kind:
    file = build.save_answers(folder, build.a_run(), build.right_of(0))
    store = Store(folder)
    (kept,), _ = store.records()

    def read() -> object:
        answers = Reader(store.answers).answers(kept)
        if answers.problem:
            raise ResultsError(answers.problem)
        every = store.predictions(kept)
        return answers.labels, answers.right.tobytes(), every.label.tobytes(), every.score.tobytes()

    return Kind("predictions", file.with_suffix(".npz"), read, checked=True)


def of_baseline(folder: Path) -> Kind:
    runs = [build.save_answers(folder, build.a_run(seed=seed), build.right_of(seed)) for seed in range(2)]
    assert runs
    store, file = Store(folder), folder / "baseline.json"
    reader = Reader(store.answers)
    baseline.write(file, [reader.answers(kept) for kept in store.records()[0]])

    def read() -> object:
        return repr([(a.run, a.value, a.n_test, a.labels, a.right.tobytes(), a.made) for a in baseline.read(file)])

    return Kind("baseline", file, read, checked=True)


def learned(folder: Path) -> Kind:
    probe = Affine(np.zeros(4), np.ones(4), np.ones((2, 4)), np.zeros(2))
    content = probes.kept(probe, {"classes": ["a", "b"]}).content
    file = folder / "linear-0.safetensors"
    file.write_bytes(content)

    def read() -> object:
        now = kept.read(file, kept.digest(content))
        return repr((now.about, {name: values.tobytes() for name, values in now.tensors.items()}))

    return Kind("learned", file, read, checked=True)


def exported(folder: Path) -> Kind:
    accuracy = {"metric": "top1", "measured": {"value": 0.5, "ci95": (0.4, 0.6)}, "test_images": 3, "words": "half"}
    about = {"accuracy": accuracy, "classes": ("a", "b"), "images": "", "outputs": "score", "meaning": "", "timm": ""}
    about |= {"upright": False, "frame": None, "architecture": None, "licences": {"weights": "", "data": ""}}
    export_folder.write(folder / "export", {export_folder.PROBE: b"probe"}, {**about, "record": build.a_record()})

    def read() -> object:
        return export_folder.read(folder / "export").model_dump_json()

    return Kind("export", folder / "export" / export_folder.ABOUT, read, checked=True)


# --- what is kept to save time


def features(folder: Path) -> Kind:
    examples = build.colours().test

    def unwanted() -> Any:
        raise Recomputed

    def kept_by(load: Callable[[], Any]) -> CachedFeatures:
        network = Network("0" * 64, build.TOY, "fp32")
        return CachedFeatures(network, folder, load=load, computer=Computer(32, "a processor", {}))

    first = kept_by(build.MeanColour)
    first.features(examples)

    def read() -> object:
        with contextlib.suppress(Recomputed):
            kept = kept_by(unwanted)
            return kept.features(examples).tobytes(), repr(kept.provenance)
        return None

    return Kind("features", first.place(examples), read, checked=True)


def state_of_training(folder: Path) -> Kind:
    def parts() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.BatchNorm1d(5))
        return network, torch.optim.AdamW(network.parameters(), lr=0.1)

    network, optimizer = parts()
    network(torch.ones(4, 6)).sum().backward()
    optimizer.step()
    checkpoint = Checkpoint(folder / "toy.state.pt", "0" * 64)
    checkpoint.save(network, optimizer, Progress(step=3, device_seconds=2.0, losses=[[1, 0.5]]))

    def read() -> object:
        network, optimizer = parts()
        progress = checkpoint.resume(network, optimizer)
        return repr((progress, network.state_dict(), optimizer.state_dict())) if progress.step else None

    return Kind("state of a training", checkpoint.file, read, checked=True)


def note_of_search(folder: Path) -> Kind:
    file = folder / "note.json"
    schema.note(file, search.Tried(score=0.625, said="so"))
    return Kind("note of a search", file, functools.partial(schema.noted, file, search.Tried), checked=True)


def images(folder: Path) -> Path:
    """Class folders with images, the first of which is none."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index in range(A_CLASS):
            Image.new("RGB", (5, 4), (60 * label + index,) * 3).save(folder / name / f"{index}.png")
    return folder


def cached(folder: Path) -> None:
    os.environ["MIXER_BENCH_CACHE"] = str(folder / "cache")
    os.environ["HF_HUB_OFFLINE"] = "1"


def _rows(folder: Path) -> Rows:
    places = [f"{name}/{index}.png" for name in CLASSES for index in range(A_CLASS)]
    return Rows.all(files.stored(folder, places), np.arange(len(places)) // A_CLASS)


def note_of_faults(folder: Path) -> Kind:
    cached(folder)
    place = images(folder / "images")
    (place / "ants/0.png").write_bytes(b"no image")
    rows = _rows(place)
    sound.faults_of(rows)
    (file,) = (folder / "cache/faults").iterdir()
    return Kind("note of bad images", file, lambda: sound.faults_of(rows), checked=True)


def digests(folder: Path) -> Kind:
    cached(folder)
    rows = _rows(images(folder / "images"))
    Examples.of(rows, upright=True)
    (file,) = (folder / "cache/digests").iterdir()
    return Kind("digests of images", file, lambda: Examples.of(rows, upright=True).digests, checked=True)


def note_of_hub(folder: Path) -> Kind:
    cached(folder)
    source = HubSource(kind="hub", repo="a/b", revision="c" * 40)
    wanted = hub_files.Listing(repo="a/b", commit="c" * 40, files={"data/train-00000-of-00001.parquet": 123_456})
    file = hub_files._note(source)
    schema.note(file, wanted)
    return Kind("note of a hub's files", file, functools.partial(schema.noted, file, hub_files.Listing), checked=True)


def of_manifest(folder: Path) -> Kind:
    cached(folder)
    (task,) = chosen_tasks([str(images(folder / "images"))])
    data = loading.load(task)
    file = manifest.write(task.name, task.source[0], data, folder)

    def read() -> object:
        changed = manifest.differences(task.name, task.source[0], data, folder)
        if changed:
            raise DataError(f"{file.name}: not as it was prepared: {changed[0]}")
        return changed if changed is None else "as it was"

    return Kind("manifest", file, read, checked=True)


KINDS: Mapping[str, Callable[[Path], Kind]] = {
    "record": record,
    "failure": failure,
    "profile": profile,
    "predictions": predictions,
    "baseline": of_baseline,
    "learned": learned,
    "export": exported,
    "features": features,
    "state": state_of_training,
    "search": note_of_search,
    "faults": note_of_faults,
    "digests": digests,
    "hub-note": note_of_hub,
    "manifest": of_manifest,
}
