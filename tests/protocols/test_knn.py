"""Nearest neighbours against a re-statement with loops, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from mixer_bench.protocols import knn
from mixer_bench.results import probes
from tests.builders import Given, colours
from tests.restated_rules import neighbours, unit


def toy() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit features and labels of train, and unit features of test."""
    data = colours(noise=80.0)
    known, queries = (unit(Given().features(part)) for part in (data.train, data.test))
    return known, data.train.labels, queries


@pytest.mark.parametrize("k", [1, 4, 500])
def test_votes_are_the_restatements(k: int) -> None:
    known, labels, queries = toy()
    ours = knn.vote(known, labels, queries, (k,), 0.07, 3)[0]
    expected, _ = neighbours(known, labels, queries, k, 0.07, 3)
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


@pytest.mark.parametrize("k", [1, 5, 15])
def test_with_equal_weights_it_is_sklearns_cosine_neighbours(k: int) -> None:
    known, labels, queries = toy()
    ours = knn.vote(known, labels, queries, (k,), 1e9, 3)[0]
    sklearns = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(known, labels)
    # Equal weights tie; where the top vote is unique both must agree.
    counts = np.round(ours).astype(int)
    unique = (counts == counts.max(1, keepdims=True)).sum(1) == 1
    assert unique.mean() > 0.8
    assert (ours.argmax(1)[unique] == sklearns.predict(queries)[unique]).all()


def test_k_is_chosen_on_val_and_recorded() -> None:
    data = colours(noise=110.0)
    config = knn.Config(k=(1, 5, 20))
    fitted = knn.fit(Given(), data.development, config, 0)
    known, queries = unit(Given().features(data.train)), unit(Given().features(data.val))
    scores = []
    for k in config.k:
        votes, _ = neighbours(known, data.train.labels, queries, k, config.temperature, 3)
        scores.append(float(np.mean(np.argmax(votes, 1) == data.val.labels)))
    assert fitted.selection is not None
    assert fitted.selection.scores == pytest.approx(scores)
    assert fitted.selection.chosen == config.k[int(np.argmax(scores))]


def test_more_neighbours_than_there_are_count_as_all() -> None:
    known, labels, queries = toy()
    everything, more = knn.vote(known, labels, queries, (len(known), 10_000), 0.07, 3)
    np.testing.assert_array_equal(everything, more)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = colours()
    whole = knn.fit(Given(), data.development, knn.Config(), 0).scores(data.test)
    monkeypatch.setattr(probes, "CHUNK", 7)
    np.testing.assert_allclose(knn.fit(Given(), data.development, knn.Config(), 0).scores(data.test), whole, rtol=1e-12)


def test_at_no_temperature_do_all_votes_vanish() -> None:
    known, labels, queries = toy()
    cold = knn.vote(known, labels, queries, (5,), 1e-5, 3)[0]
    assert (cold.max(axis=1) >= 1).all()
    nearest = labels[(queries @ known.T).argmax(axis=1)]
    assert (cold.argmax(axis=1) == nearest).all()


def test_the_first_of_equally_similar_neighbours_vote() -> None:
    angles = np.random.default_rng(0).choice([0.0, 0.3, 0.6], 300)
    known = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    votes = knn.vote(known, np.arange(300), np.array([[1.0, 0.0]]), (5,), 0.07, 300)[0]
    assert np.flatnonzero(votes[0]).tolist() == np.flatnonzero(angles == 0)[:5].tolist()
