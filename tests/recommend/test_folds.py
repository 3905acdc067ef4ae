"""Out-of-fold answers against scikit-learn's, and learning curves of a known law."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixer_bench.recommend import folds


def clouds(classes: int, images: int = 120) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes, images)
    x = generator.normal(size=(classes, 12))[labels] + generator.normal(0, 1.3, (images, 12))
    return x.astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 4])
def test_answers_are_scikit_learns_of_the_same_folds(classes: int) -> None:
    x, labels = clouds(classes)
    given, penalty = folds.out_of_fold(x, labels, "cpu")
    split = PredefinedSplit(folds.dealt(labels, folds.FOLDS))
    expected = {
        c: cross_val_predict(make_pipeline(StandardScaler(), LogisticRegression(C=c, tol=1e-8)), x, labels, cv=split)
        for c in folds.GRID
    }
    scores = {c: (answers == labels).mean() for c, answers in expected.items()}
    assert (given == expected[penalty]).mean() > 0.99  # a tie may fall either way
    assert scores[penalty] == pytest.approx(max(scores.values()), abs=0.01)


def test_each_class_is_dealt_evenly_and_never_to_itself() -> None:
    labels = np.repeat(np.arange(7), 10)
    counts = np.stack([np.bincount(labels[folds.dealt(labels, 5) == fold], minlength=7) for fold in range(5)])
    assert (counts == 2).all()


def test_a_class_that_one_fold_holds_alone_is_never_predicted_there() -> None:
    x, labels = clouds(2)
    labels[0] = 2
    assert folds.out_of_fold(x, labels, "cpu")[0][0] != 2


def test_a_power_law_is_continued() -> None:
    sizes = np.array([100.0, 200, 300, 400])
    wrong = np.stack([scale * sizes**-0.5 for scale in (2.0, 3.0)])
    gain = folds.gain(sizes, wrong, 500, 140, 1000)
    assert gain == pytest.approx([scale * (500**-0.5 - 640**-0.5) for scale in (2.0, 3.0)])


def test_fewer_labels_are_wrong_more_often() -> None:
    x, labels = clouds(4, images=400)
    sizes, wrong = folds.errors(x, labels, 0.1, "cpu")
    assert sizes == pytest.approx([80, 160, 240, 320], abs=3)
    assert wrong.shape == (folds.FOLDS, 4)
    assert wrong.mean(axis=0)[0] > wrong.mean(axis=0)[-1]
