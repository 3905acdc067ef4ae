"""The verdict in words."""

import pytest

from mixer_bench.recommend import text
from mixer_bench.recommend.values import Candidate, Labels, Looked, Recommendation, Suspected, Tuned
from mixer_bench.results.record import Measured

TEST = Measured(value=0.8, ci95=(0.75, 0.84))


def candidate(model: str, state: str, **values: object) -> Candidate:
    told = {"images": 600, "score": 0.8, "difference": 0.02, "ci95": (-0.01, 0.05), "p": 0.3, "latency_ms": 30.0}
    return Candidate.model_validate({"model": model, "state": state, **told, **values})


def recommendation(*others: Candidate, **values: object) -> Recommendation:
    winner = candidate(
        "best", "winner", accuracy=TEST, difference=None, ci95=None, p=None, tuned=values.pop("tuned", None)
    )
    told = {
        "task": "folder/pets", "source": "folder", "classes": 3, "train": 480, "val": 120, "test": 300, "limit": None,
        "metric": "top1", "device": "a CPU", "precision": "fp32", "budget": 600.0, "spent": 90.0,
        "candidates": (winner, *others), "rounds": (Looked(images=600, candidates=3),),
        "labels": Labels(fewest=20, most=30, shots=((1, 0.4), (5, 0.6)), more=5, gain=0.012, gain_half=0.004),
    }  # fmt: skip
    return Recommendation.model_validate({**told, **values})


def words(told: Recommendation) -> str:
    return " ".join(text.text(told).split())


def test_winner_ties_labels_and_what_was_not_tried() -> None:
    said = words(recommendation(candidate("other", "tied"), candidate("third", "behind"), tuned=Tuned(seconds=400.0)))
    assert "Take best: top-1 accuracy 80.0 % (95 % interval 75.0 to 84.0) on 300 test images, 30 ms an image" in said
    assert "Not told apart from it: other. It beats the other one by more than chance." in said
    assert "40.0 % with 1, 60.0 % with 5 a class (few-shot probe), 80.0 % with all, 20 to 30 a class" in said
    assert "5 more labels a class: about +1.2 points (+0.8 to +1.6; extrapolated)" in said
    assert "Fine-tuning: best not tried: 7 min (a larger --budget)." in said
    assert "Wrong labels: not looked for" in said


def test_a_tie_that_is_faster_is_named_and_what_took_no_part_with_its_reason() -> None:
    slow = Candidate(model="slow", state="unfit", reason="40 ms an image, at most 35 were asked for", latency_ms=40.0)
    said = words(recommendation(candidate("quick", "tied", latency_ms=10.0), slow, latency_ms=35.0))
    assert "Take best (of those of at most 35 ms)" in said
    assert "quick; quick takes 10 ms an image" in said
    assert "not compared: slow: 40 ms an image, at most 35 were asked for" in said


@pytest.mark.parametrize(("p", "sure"), [(0.01, ""), (0.2, ", not told from chance")])
def test_fine_tuning_is_told_by_its_gain(p: float, sure: str) -> None:
    tuned = Tuned(seconds=1.0, accuracy=TEST, gain=0.03, gain_ci95=(0.01, 0.05), p=p, record="0" * 16)
    assert f"+3.0 points to its probe (+1.0 to +5.0{sure})" in words(recommendation(tuned=tuned))


def test_labels_that_look_wrong_are_counted_and_named() -> None:
    names = tuple(f"train cats/{number}.png" for number in range(7))
    said = words(recommendation(suspected=Suspected(wrong=8.2, ci95=(5.0, 12.4), images=names)))
    assert "About 8 labels look wrong (5 to 12): train cats/0.png" in said and "5.png ..." in said
    assert "look wrong (0 to 2)." in words(recommendation(suspected=Suspected(wrong=0.1, ci95=(0, 2), images=())))


def test_few_images_are_said() -> None:
    said = words(recommendation(test=40, labels=Labels(fewest=3, most=9, more=5)))
    assert "40 test images are few" in said and "too few images or too little time" in said
    assert "There was nothing to compare it with." in said


def test_notes_without_number_take_a_few_lines_and_say_where_all_are() -> None:
    failed = [Candidate(model=f"model {n}", state="unfit", reason=f"file {n} is damaged " * 9) for n in range(40)]
    said = text.text(recommendation(*failed))
    below = said.partition("best ")[2].splitlines()[1:]
    assert len(below) <= 13 and "more notes: recommend --json" in " ".join(said.split())
