"""What a record's predictions say class by class, and which images it got most surely wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mixer_bench import data
from mixer_bench.data.examples import TaskData
from mixer_bench.errors import MixerBenchError
from mixer_bench.results import answers
from mixer_bench.results.by_class import OfClass, PerClass, Wrong
from mixer_bench.results.record import Record
from mixer_bench.results.store import KEPT, Predictions, predicted, read_record
from mixer_bench.runs.explain import task_of
from mixer_bench.stats import intervals, scores
from mixer_bench.task.task import Task

MOST = 50  # wrong answers that are told


def per_class(
    file: Path, task: Task | None, data_dir: Path, include: Sequence[Path]
) -> tuple[PerClass, TaskData | None]:
    """Return what a record's predictions say class by class, and the record's images, None where they are not here.

    Args:
        file: a record's, its predictions beside it.
        task: images of one's own, where the record's task has no file; None: the record's task.
        data_dir: root of images on disk: they give names of classes and images, without them there are numbers.
        include: folders with task files of one's own.

    Raises:
        ResultsError: it is no record, or its predictions are missing or damaged, or do not give its value.
    """
    record = read_record(file)
    kept, run = Predictions(*predicted(file.with_suffix(".npz"), record, *KEPT)), record.run
    answers.check(record, kept.label, kept.prediction)
    there, remarks = _images(record, task, data_dir, include)
    names = there.class_names if there else tuple(map(str, range(record.num_classes)))
    size = record.num_classes
    table = np.bincount(kept.label * size + kept.prediction, minlength=size * size).reshape(size, size)
    bins = None
    if kept.confidence is None:
        remarks.append("its scores are no probabilities: there is no calibration")
    else:
        bins = scores.reliability(kept.confidence, kept.label == kept.prediction)
    told = PerClass(
        task=run.task,
        model=run.model,
        protocol=run.protocol,
        seed=run.seed,
        key=run.key,
        metrics=record.metrics,
        classes=tuple(_classes(table, names)),
        confusion=tuple(map(tuple, table.tolist())),
        wrong=tuple(_wrong(kept, names, there.test.names if there else ())),
        reliability=bins and tuple(bins),
        remarks=tuple(remarks),
    )
    return told, there


def _images(
    record: Record, task: Task | None, data_dir: Path, include: Sequence[Path]
) -> tuple[TaskData | None, list[str]]:
    """Return the record's images, if they are here, or why there are only numbers."""
    try:
        there = data.load(task or task_of(record.run.task, include), data_dir).limited(record.run.limit)
    except MixerBenchError as error:
        return None, [f"classes and images by number, their names are not here: {error}"]
    if there.fingerprint != record.run.data:
        return None, ["classes and images by number: those that are here now are not the record's"]
    return there, []


def _classes(table: np.ndarray, names: Sequence[str]) -> Iterator[OfClass]:
    for number, name in enumerate(names):
        images, right = int(table[number].sum()), int(table[number, number])
        yield OfClass(
            name=name,
            images=images,
            right=right,
            predicted=int(table[:, number].sum()),
            accuracy=right / images if images else None,
            ci95=intervals.proportion_interval(right, images) if images else None,
        )


def _wrong(kept: Predictions, names: Sequence[str], images: Sequence[str]) -> Iterator[Wrong]:
    """Give the wrong answers, the surest first, ``MOST`` at most."""
    sure = kept.score if kept.confidence is None else kept.confidence
    missed = np.flatnonzero(kept.label != kept.prediction)
    for index in missed[np.argsort(-sure[missed], kind="stable")][:MOST].tolist():
        yield Wrong(
            index=index,
            image=images[index] if images else f"test {index}",
            label=names[kept.label[index]],
            prediction=names[kept.prediction[index]],
            score=float(kept.score[index]),
            confidence=None if kept.confidence is None else float(kept.confidence[index]),
        )
