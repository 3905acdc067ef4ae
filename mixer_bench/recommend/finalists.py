"""Finalists on test, as ordinary runs: probes, fine-tuning where there is time; and what more labels would bring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixer_bench.recommend import folds
from mixer_bench.recommend.costs import Clock
from mixer_bench.recommend.options import Options
from mixer_bench.recommend.values import Labels, Tuned
from mixer_bench.results.record import Record
from mixer_bench.results.store import Store, read_record
from mixer_bench.runs import command
from mixer_bench.stats import intervals, metrics, paired
from mixer_bench.system.progress import ProgressLog

SHOTS = (1, 5, 10, 25)
MORE = 5  # labels a class, whose worth is told
PRESET = "small"  # of fine-tuning


@dataclass
class Finalists:
    """Models to be measured on test."""

    options: Options
    typed: Mapping[str, str]  # a model's name as it was asked for
    limit: int | None
    store: Store
    clock: Clock
    tell: Callable[[str], object]
    log: Callable[[float], ProgressLog]
    records: dict[str, list[Record]] = field(default_factory=dict)
    tuned: dict[str, Tuned | None] = field(default_factory=dict)

    def measure(self, names: Sequence[str], labels: np.ndarray) -> None:
        """Do the linear probe of each, and few-shot probes.

        Args:
            names: models.
            labels: of train and val, int [N]: no more shots than the rarest class has are taken.
        """
        fewest = int(np.bincount(labels).min())
        shots = self.options.shots or tuple(count for count in SHOTS if count <= fewest) or SHOTS[:1]
        for record in self._done(names, protocol=("linear", "fewshot"), shots=shots):
            self.records.setdefault(record.run.model, []).append(record)

    def tune(self, names: Sequence[str]) -> None:
        """Fine-tune models, in this order, as time lets."""
        for name in names:
            self.tuned[name] = tuned = self._tuned(name)
            if tuned is not None and tuned.accuracy is None:
                break

    def told(self, name: str) -> dict[str, Any]:
        """Return the fields of a candidate that are measured on test; nothing of one that was not."""
        record = self._linear(name)
        if record is None:
            return {}
        values = {"accuracy": record.metrics[record.run.metric], "record": record.run.key}
        return {**values, "tuned": self.tuned.get(name)}

    def _done(self, names: Sequence[str], **how: object) -> list[Record]:
        """Do runs, and return the records of those that finished; what failed is told by what does them."""
        options = self.options.run(model=[self.typed[name] for name in names], limit=self.limit, **how)
        summary = command.do(options, self.tell, self.log)
        for reason in (*summary.unavailable, *(f"failed: {file}" for file in summary.failed)):
            self.tell(reason)
        return [read_record(Path(file)) for file in summary.records if Path(file).is_file()]

    def _linear(self, name: str) -> Record | None:
        """Return a finalist's record of the linear probe; None where it failed."""
        return next((each for each in self.records.get(name, ()) if each.run.protocol == "linear"), None)

    def _tuned(self, name: str) -> Tuned | None:
        """Fine-tune a finalist if there is time, or say how long it takes; None without a network or a probe."""
        how = {"protocol": ("finetune",), "preset": PRESET, "seeds": 1, "save_model": True}
        foretold = command.foretold([self.options.run(model=[self.typed[name]], limit=self.limit, **how)])
        probed = self._linear(name)
        if not foretold.asked or probed is None:
            return None
        if foretold.seconds > self.clock.left:
            return Tuned(seconds=foretold.seconds)
        records = self._done([name], **how)
        if not records:
            return None
        tuned, metric = records[0], metrics.get(probed.run.metric)
        label, answer = self.store.answers(tuned)
        _, probes = self.store.answers(probed)
        against = paired.compare((answer == label)[None], (probes == label)[None], metric.example_weights(label))
        return Tuned(
            seconds=foretold.seconds,
            accuracy=tuned.metrics[tuned.run.metric],
            gain=against.difference,
            gain_ci95=against.ci95,
            p=against.p,
            record=tuned.run.key,
        )

    def labels(self, name: str, labels: np.ndarray, features: np.ndarray | None, penalty: float, device: str) -> Labels:
        """Return what labels are worth to a model: at fewer of them as measured on test, at more as extrapolated.

        Args:
            name: of the model.
            labels: of train and val, int [N].
            features: of these, float32 [N, D]; None where there is no time for more labels.
            penalty: C of its probe.
            device: where to compute.
        """
        counts = np.unique(labels, return_counts=True)[1]
        by_shots: dict[int, list[float]] = {}
        for record in self.records.get(name, ()):
            if record.run.setting.shots:
                by_shots.setdefault(record.run.setting.shots, []).append(record.metrics[record.run.metric].value)
        told = {
            "fewest": int(counts.min()),
            "most": int(counts.max()),
            "shots": tuple((shots, float(np.mean(values))) for shots, values in sorted(by_shots.items())),
            "more": MORE,
        }
        if features is not None and counts.min() >= folds.FOLDS * len(folds.SHARES) // 2:
            sizes, wrong = folds.errors(features, labels, penalty, device)
            gains = folds.gain(sizes, wrong, len(labels), MORE * len(counts), len(labels) // folds.FOLDS)
            told["gain"], told["gain_half"] = intervals.mean_interval(gains.tolist())
        return Labels.model_validate(told)
