"""Wrong labels, copies and mixed-up classes: planted, and looked for."""

import base64
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

import mixer_bench
from mixer_bench.audit import audit as auditing
from mixer_bench.audit import noise, probe, text, twins
from mixer_bench.cli import app
from mixer_bench.data.examples import Examples, TaskData
from mixer_bench.errors import DataError
from mixer_bench.stats.scores import probabilities
from mixer_bench.system.progress import unheard

WRONG = 8


def planting(monkeypatch: pytest.MonkeyPatch, change: Callable[[TaskData], TaskData]) -> None:
    """Let audits see a task's images changed."""
    gathered = auditing.computing.gathered

    def changed(request):
        task, data, model = gathered(request)
        return task, change(data), model

    monkeypatch.setattr(auditing.computing, "gathered", changed)


def test_planted_labels_come_first_and_their_number_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedded network, embedded images: 8 of 240 digits are called another one."""
    planted: set[tuple[str, int]] = set()

    def change(data: TaskData) -> TaskData:
        draw, splits = np.random.default_rng(0), {}
        for split, count in (("train", 4), ("val", 1), ("test", 3)):
            examples = getattr(data, split)
            chosen, labels = draw.choice(len(examples), count, replace=False), examples.labels.copy()
            labels[chosen] = (labels[chosen] + draw.integers(1, 10, count)) % 10
            planted.update((split, int(index)) for index in chosen)
            splits[split] = replace(examples, labels=labels)
        return replace(data, **splits)

    planting(monkeypatch, change)
    done = mixer_bench.audit("digits", "mixer_nano", limit=80)
    first = [(suspect.image.split, suspect.image.index) for suspect in done.suspects[:10]]
    assert (len(planted), done.images, done.classes) == (WRONG, 240, 10)
    assert len(planted & {*first}) >= WRONG - 1
    assert done.wrong_ci95[0] <= WRONG <= done.wrong_ci95[1]
    assert [suspect.p_wrong for suspect in done.suspects] == sorted((s.p_wrong for s in done.suspects), reverse=True)
    likely = [suspect for suspect in done.suspects if suspect.p_wrong > 0.9]
    assert likely and all((s.image.split, s.image.index) in planted and s.p_label < s.p_suggested for s in likely)
    assert done.ci95[0] < done.agreement < done.ci95[1]
    assert all(sum(mixed.mistaken) <= mixed.images for mixed in done.mixed)
    shown = text.text(done)
    assert f"about {done.wrong:.0f} " in shown
    assert max(map(len, shown.splitlines())) <= 100


def clouds(count: int, classes: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features around one mean a class, and labels."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return (draw.normal(size=(classes, 20))[labels] * apart + draw.normal(size=(count, 20))).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 4])
def test_out_of_fold_probabilities_are_scikit_learns(classes: int) -> None:
    x, labels = clouds(120, classes, 0.5)
    folds = StratifiedKFold(probe.FOLDS, shuffle=True, random_state=0)
    odds = probe.log_odds(x, labels, np.arange(120), classes, unheard)
    for c, ours in zip(probe.GRID, odds, strict=True):
        expected = np.empty((120, classes))
        for fitted, held in folds.split(x, labels):
            scaler = StandardScaler().fit(x[fitted])
            theirs = LogisticRegression(C=c, tol=1e-8, max_iter=1000).fit(scaler.transform(x[fitted]), labels[fitted])
            expected[held] = theirs.predict_proba(scaler.transform(x[held]))
        np.testing.assert_allclose(probabilities(ours, "logits"), expected, atol=2e-3)
    scaled = StandardScaler().fit_transform(x)
    roughly = cross_val_predict(LogisticRegression(C=probe.GRID[1]), scaled, labels, cv=folds, method="predict_proba")
    assert np.abs(probabilities(odds[1], "logits") - roughly).max() < 0.05


def test_images_that_are_one_are_never_judged_by_each_other() -> None:
    x, labels = clouds(60, 3, 2.0)
    x, labels = np.concatenate([x, x[:1]]), np.append(labels, 1)  # the first once more, called 1 and not 0
    alike = np.append(np.arange(60), 0)
    for fitted, held in probe._folds(labels, alike, 5):
        assert not {*alike[fitted]} & {*alike[held]}
    odds = probe.log_odds(x, labels, alike, 3, unheard)
    assert noise.fitted(odds, labels, 3).wrong.argmax() == 60


@pytest.mark.parametrize(("wrong", "within"), [(0, 1.5), (20, 5)])
def test_the_number_of_wrong_labels_is_in_its_interval_and_probabilities_are_rates(wrong: int, within: float) -> None:
    inside, likely = 0, []
    for seed in range(10):
        x, truth = clouds(200, 4, 0.6, seed)
        labels, draw = truth.copy(), np.random.default_rng(seed)
        chosen = draw.choice(200, wrong, replace=False)
        labels[chosen] = (labels[chosen] + draw.integers(1, 4, wrong)) % 4
        done = noise.fitted(probe.log_odds(x, labels, np.arange(200), 4, unheard)[2:3], labels, 4)
        inside += done.share_ci95[0] * 200 <= wrong <= done.share_ci95[1] * 200
        likely.append(done.wrong.sum())
    assert inside >= 8
    assert abs(np.mean(likely) - wrong) < within


def test_copies_are_told_and_like_images_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four images of train test has one again, one's pixels, one saved as JPEG, and one cropped and called other."""

    def change(data: TaskData) -> TaskData:
        some = [data.train.images[index] for index in range(4)]
        images = [some[0], some[1].copy(), twins.resaved(some[2]), twins.cropped(some[3])]
        labels = data.train.labels[:4] + np.array([0, 0, 0, 1])
        digests = (data.train.digests[0], *("0" * index for index in (61, 62, 63)))
        return replace(data, test=Examples(images, labels, tuple("abcd"), digests))

    planting(monkeypatch, change)
    done = mixer_bench.audit("clipart", "resnet_nano", limit=40)
    told = [(group.alike, *((image.split, image.index) for image in group.images)) for group in done.twins]
    assert told == [
        ("features", ("train", 3), ("test", 3)),
        ("bytes", ("train", 0), ("test", 0)),
        ("pixels", ("train", 1), ("test", 1)),
        ("features", ("train", 2), ("test", 2)),
    ]
    assert [group.contradicting for group in done.twins] == [True, False, False, False]
    assert "4 groups, 4 of them across splits, 1 with different labels" in text.text(done)


def folder(root: Path, **classes: int) -> Path:
    draw = np.random.default_rng(0)
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8)).save(root / name / f"{number}.png")
    return root


def test_few_images_of_a_class_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["audit", f"{folder(tmp_path / 'own', ants=4, bees=4, wasps=12)}", "--model", "mixer_nano", "--json"]
    assert app.main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["remarks"] == ["classes with fewer images than the 5 folds, judged by few: ants (4), bees (4)"]
    assert len(told["suspects"]) == 20
    assert all(math.isfinite(suspect["p_wrong"]) for suspect in told["suspects"])
    assert {place["split"] for place in (suspect["image"] for suspect in told["suspects"])} == {"train", "val", "test"}


def test_thumbnails_are_shown_only_where_asked_for_and_names_are_no_markup(tmp_path: Path) -> None:
    own = folder(tmp_path / "own", **{"<b>ants": 6, "bees": 6})
    page = tmp_path / "page.html"
    mixer_bench.audit(f"{own}", "mixer_nano")
    assert not page.exists()
    done = mixer_bench.audit(f"{own}", "mixer_nano", thumbnails=page)
    shown = page.read_text()
    assert "<b>ants" not in shown and "&lt;b&gt;ants" in shown
    assert shown.count("<img ") == len(done.suspects) + sum(min(4, len(group.images)) for group in done.twins)
    first = base64.b64decode(re.search(r"data:image/jpeg;base64,([^\"]+)", shown)[1])
    assert Image.open(io.BytesIO(first)).size == (16, 16)
    assert "http" not in shown.replace("http-equiv", "")


def test_an_image_that_is_alone_is_not_judged_and_one_class_has_no_other() -> None:
    x, labels = clouds(20, 2, 2.0)
    odds = probe.log_odds(x, np.append(labels[:-1], 2), np.arange(20), 3, unheard)
    assert np.isfinite(odds[:, np.arange(20), np.append(labels[:-1], 2)]).all(axis=0).tolist() == [True] * 19 + [False]
    with pytest.raises(DataError, match="all 20 images are of one class"):
        probe.log_odds(x, np.zeros(20, int), np.arange(20), 1, unheard)
    with pytest.raises(DataError, match="none of the 20 classes has two images"):
        probe.log_odds(x, np.arange(20), np.arange(20), 20, unheard)


def test_several_tasks_are_no_audit(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["audit", "digits,clipart", "--model", "mixer_nano"]) == 2
    assert "one task and one model" in capsys.readouterr().err
