"""Groups of one protocol that fall together, each by too little to be seen, fail by the protocol's name.

``golden/knn_without_val.npz`` has which test images of the embedded tasks k-NN got right with train and val as
neighbours, and with train alone: 4 models on 2 tasks, one seed, bits of 642 and 1,078 examples. Seven groups fall, by
1.6 points at most, and one rises by 0.3.
"""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from mixer_bench.gate import check as gate
from mixer_bench.gate import text
from mixer_bench.results.answers import Answers
from mixer_bench.results.made import Made
from tests.builders import a_record, a_run

EXAMPLES = {"clipart": 642, "digits": 1_078}
SAID = "knn fell by 0.9 points over 8 groups together"
Folder = list[Answers]


def answers(task: str, model: str, right: np.ndarray, seed: int = 0, **changes: object) -> Answers:
    run = a_run(task=task, model=model, seed=seed, **{"protocol": "knn", "config": {"k": 10}, **changes})
    return Answers(run, float(right.mean()), len(right), task, right, Made.of(a_record(run=run)))


def neighbours() -> tuple[Folder, Folder]:
    """The runs with val among the neighbours, and without."""
    sides: tuple[Folder, Folder] = [], []
    with np.load(Path(__file__).parents[1] / "golden" / "knn_without_val.npz") as kept:
        for name in kept.files:
            task, model = name.split("/")
            for side, bits in zip(sides, kept[name], strict=True):
                side.append(answers(task, model, np.unpackbits(bits, count=EXAMPLES[task]).astype(bool)))
    return sides


def test_neighbours_that_lost_val_fail_by_name() -> None:
    outcome = gate.check(*neighbours())
    assert [row.verdict for row in outcome.rows] == ["ok"] * 8, "none is seen alone"
    assert not outcome.passed
    assert text.verdict(outcome) == f"FAIL: {SAID}"
    shown = text.terminal(outcome)
    (line,) = [line for line in shown.splitlines() if "together" in line and "drop" in line]
    assert line.split("knn, 8 groups together")[1].split()[:3] == ["-", "59.2", "58.3"]
    assert SAID in text.markdown(outcome)
    (pool,) = json.loads(text.as_json(outcome))["together"]
    assert (pool["protocol"], pool["groups"], pool["verdict"], pool["fails"]) == ("knn", 8, "drop", True)
    assert pool["difference"] == pytest.approx(pool["now"] - pool["baseline"]) == pytest.approx(-0.0085, abs=5e-5)
    assert pool["p"] < 0.01
    suite = ET.fromstring(text.junit(outcome).encode()).find("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("10", "1")
    (case,) = suite.findall("testcase[@classname='together']")
    assert case.get("name") == "knn, 8 groups together"
    assert case.find("failure").get("type") == "drop"


def test_a_rise_is_none_and_neither_is_what_is_smaller_than_what_matters() -> None:
    without, with_val = reversed(neighbours())
    risen = gate.check(without, with_val)
    assert risen.passed
    assert [pool.verdict for pool in risen.together] == ["better"]
    assert text.verdict(risen) == "PASS: no drop in 8 groups"
    assert gate.check(*neighbours(), min_drop=0.009).passed


def test_groups_of_another_protocol_and_one_alone_are_not_pooled() -> None:
    before, now = neighbours()
    assert gate.check(before[:1], now[:1]).together == ()
    mixed = [
        [answers(each.run.task, each.run.model, each.right, protocol=f"p{place}") for place, each in enumerate(side)]
        for side in (before, now)
    ]
    assert gate.check(*mixed).together == ()
    assert gate.check(*mixed).passed


def test_a_folder_that_stayed_says_nothing_of_its_groups_together() -> None:
    before, _ = neighbours()
    outcome = gate.check(before, before)
    assert "together" not in text.terminal(outcome)
    assert [(pool.verdict, pool.p) for pool in outcome.together] == [("ok", 1.0)]
