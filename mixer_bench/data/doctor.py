"""What is on this machine of each task's sources, and whether it is what the task file says. Fetches nothing."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image
from scipy import spatial
from tabulate import tabulate

from mixer_bench.data import assemble, loading, manifest
from mixer_bench.data.decoding import pool
from mixer_bench.data.examples import Examples, TaskData
from mixer_bench.data.readers.vtab1k_folder import FOLDER
from mixer_bench.data.rows import Read
from mixer_bench.errors import Absent, DataError, UsageError
from mixer_bench.system.schema import Frozen
from mixer_bench.task.sources import JoinedSource, Source, Subset, Vtab1kFolderSource
from mixer_bench.task.task import Task, shown_subset

JPEG = b"\xff\xd8\xff"
WIDTH = 100  # columns
MANY = 4  # tasks that are counted, not named
SHOWN = 5  # images that are named of many; of changed ones --json has all
ALIKE = 16.0  # levels that an image saved as JPEG once more may be off on average; another image is off by 30 and more
FETCHED: Mapping[str, str] = {
    "hub": "not fetched yet; mixer-bench prepare fetches it",
    "originals": "not fetched yet; mixer-bench prepare --source originals fetches it",
    "torchvision": "not fetched yet; mixer-bench prepare --source torchvision fetches it",
}


class Counts(Frozen):
    """What a split holds."""

    examples: int
    classes: int  # that occur
    fewest: int  # examples of the rarest of them
    most: int


class Finding(Frozen):
    """What is known of a source of a task."""

    task: str
    source: str
    state: Literal["ok", "absent", "wrong"]
    subset: Subset
    description: str = ""
    splits: dict[str, Counts] = {}  # noqa: RUF012  pydantic copies it
    prepared: Literal["yes", "no", "changed"] = "no"
    remarks: tuple[str, ...] = ()
    access: str = ""  # how it can be had
    unverified: tuple[str, ...] = ()


class Examined(NamedTuple):
    """A source, and what it gives where it is right."""

    finding: Finding
    data: TaskData | None = None


def examine(tasks: Sequence[Task], data_dir: Path, cross_check: bool = False) -> list[Finding]:
    """Look at every source of ``tasks``; each image that is there is hashed.

    Args:
        tasks: with their sources.
        data_dir: root of what one has on disk.
        cross_check: where two sources of VTAB's slices are here, compare every image of one with the other's.
    """
    findings = []
    for task in tasks:
        findings += _compared([_examined(task, source, data_dir) for source in task.source], cross_check)
    return findings


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 0 where each task has a source that is right and none that is wrong, else 3."""
    wrong = any(finding.state == "wrong" for finding in findings)
    return DataError.exit_code if wrong or _right(findings) != {finding.task for finding in findings} else 0


def _right(findings: Sequence[Finding]) -> set[str]:
    return {finding.task for finding in findings if finding.state == "ok"}


def _compared(looked: Sequence[Examined], cross_check: bool) -> list[Finding]:
    """Compare VTAB's slices with those of a source whose order was rebuilt from keys, if one is here."""
    ordered = [each for each in looked if (each.finding.state, each.finding.subset) == ("ok", "official")]
    if not ordered:
        return [each.finding for each in looked]
    reference = ordered[0]

    def compared(each: Examined) -> Finding:
        finding = each.finding
        if each is reference or each.data is None or reference.data is None or finding.subset == "resampled":
            return finding
        expected, given = reference.data.splits, each.data.splits
        differing, turned = _labels_compared(given, expected)
        words = f"the labels of {', '.join(differing or turned) or 'all splits'} are "
        kind = reference.finding.source
        order = (
            f"{kind}'s in another order, as where TFDS read several files in turn" if turned else f"in {kind}'s order"
        )
        remarks = [words + (f"not those of {kind}, in order" if differing else order)]
        if cross_check and not differing:
            paired = {split: given[split].take(_partners(given[split], expected[split])) for split in turned}
            differing, told = _images_compared({**given, **paired}, expected, kind)
            remarks.append(told)
        update = {"state": "wrong" if differing else "ok", "remarks": (*finding.remarks, *remarks)}
        return finding.model_copy(update=update)

    return [compared(each) for each in looked]


def _labels_compared(given: Mapping[str, Examples], expected: Mapping[str, Examples]) -> tuple[list[str], list[str]]:
    """Return the splits whose labels are others than ``expected``, and those that have them in another order.

    TFDS reads the files of a split 16 examples at a time in turn: VPT's public list of KITTI's validation shows it.
    """
    labels = {split: (given[split].labels, of.labels) for split, of in expected.items()}
    others = [split for split, pair in labels.items() if not np.array_equal(np.sort(pair[0]), np.sort(pair[1]))]
    return others, [split for split, pair in labels.items() if split not in others and not np.array_equal(*pair)]


def _partners(given: Examples, expected: Examples) -> np.ndarray:
    """Return where in ``given`` the image is that is most like each of ``expected``, of those with its label."""
    partners = np.empty(len(expected), np.int64)
    coarse, of_expected = (np.stack([*pool().map(_coarse(each), range(len(each)))]) for each in (given, expected))
    for label in np.unique(expected.labels):
        here, there = (np.flatnonzero(each.labels == label) for each in (given, expected))
        partners[there] = here[spatial.KDTree(coarse[here]).query(of_expected[there])[1]]
    return partners


def _coarse(examples: Examples) -> Callable[[int], np.ndarray]:
    """Return what gives the mean colours of the 8 x 8 parts of the image at a place."""

    def colours(index: int) -> np.ndarray:
        image = Image.fromarray(examples.images[index])
        return np.asarray(image.resize((8, 8), Image.Resampling.BOX), dtype=np.float32).ravel()

    return colours


def _images_compared(
    given: Mapping[str, Examples], expected: Mapping[str, Examples], kind: str
) -> tuple[list[str], str]:
    """Return the splits in which images are others than ``expected``, and what was found, in words."""
    gaps = {split: [*pool().map(_gaps(given[split], of), range(len(of)))] for split, of in expected.items()}
    others = {split: [i for i, gap in enumerate(of) if not gap <= ALIKE] for split, of in gaps.items()}
    count = sum(map(len, gaps.values()))
    if wrong := [f"{split} {given[split].names[i]}" for split, of in others.items() for i in of]:
        named = f"{', '.join(wrong[:SHOWN])}{', ...' * (len(wrong) > SHOWN)}"
        return [
            split for split in others if others[split]
        ], f"{len(wrong)} of {count:,} images are not {kind}'s: {named}"
    every = np.concatenate([*map(np.asarray, gaps.values())])
    return [], f"all {count:,} images are {kind}'s, {every.mean():.1f} levels off on average, {every.max():.1f} at most"


def _gaps(given: Examples, expected: Examples) -> Callable[[int], float]:
    """Return what gives the mean distance of two images' values at a place; infinity where their sizes differ."""

    def gap(index: int) -> float:
        image, other = given.images[index], expected.images[index]
        return float(np.abs(image.astype(np.int16) - other).mean()) if image.shape == other.shape else math.inf

    return gap


def _examined(task: Task, source: Source, data_dir: Path) -> Examined:
    parts = source.part if isinstance(source, JoinedSource) else ()
    unverified = (*task.unverified, *source.unverified, *(note for part in parts for note in part.unverified))
    finding = Finding(
        task=task.name,
        source=source.kind,
        state="wrong",
        subset=source.subset,
        access=source.access,
        unverified=unverified,
    )
    read = None
    try:
        with loading.named(task, source):
            read = loading.read(source, data_dir)
            data = assemble.assembled(task, source, read, anew=True)
            changed = manifest.differences(task.name, source, data, data_dir)
    except Absent as absent:
        return Examined(finding.model_copy(update={"state": "absent", "remarks": (str(absent),)}))
    except (DataError, UsageError) as error:
        remarked = (str(error), *(_mistaken(task, read) if read else ()))
        return Examined(finding.model_copy(update={"remarks": remarked}))
    remarks = [*_remarks(source, read), *(changed or ())[:SHOWN]]
    if changed and len(changed) > SHOWN:
        remarks.append(f"... {len(changed)} in all")
    values = {
        "state": "wrong" if changed else "ok",
        "subset": data.subset,
        "description": data.source,
        "splits": {split: _counts(examples) for split, examples in data.splits.items()},
        "prepared": "changed" if changed else "no" if changed is None else "yes",
        "remarks": tuple(remarks),
    }
    return Examined(finding.model_copy(update=values), data)


def _mistaken(task: Task, read: Read) -> list[str]:
    """Return what a wrong number of classes is known to come from."""
    largest = max(int(rows.labels.max(initial=0)) for rows in read.splits.values())
    count = len(read.class_names) if read.class_names else largest + 1
    return [task.mistakes[count]] if count in task.mistakes else []


def _remarks(source: Source, read: Read) -> list[str]:
    remarks = []
    if isinstance(source, Vtab1kFolderSource):
        encoded = next(iter(read.splits.values())).content(0).startswith(JPEG)
        remarks.append(
            "images were saved as JPEG by the script that made this folder"
            if encoded
            else "images are not JPEG, unlike those of the usual folder: someone made it anew"
        )
    if source.order == "tfds":
        remarks.append(
            f"TFDS's order from md5(split + {source.key})" + (f": {source.edition}" if source.edition else "")
        )
    return remarks


def _counts(examples: Examples) -> Counts:
    _, sizes = np.unique(examples.labels, return_counts=True)
    return Counts(examples=len(examples), classes=len(sizes), fewest=min(sizes, default=0), most=max(sizes, default=0))


def whole_vtab(tasks: Sequence[Task], data_dir: Path) -> list[str]:
    """Return a word on a VTAB-1k folder that lacks tasks, as some copies do: no mean over 19 can come of it."""
    root = data_dir / FOLDER
    folders = {s.folder for task in tasks for s in task.source if isinstance(s, Vtab1kFolderSource)}
    missing = sorted(name for name in folders if not (root / name).is_dir())
    if not root.is_dir() or not missing:
        return []
    return [f"{root} has {len(folders) - len(missing)} of {len(folders)} tasks; it lacks {', '.join(missing)}"]


def text(findings: Sequence[Finding], notes: Sequence[str]) -> str:
    """Return in at most 100 columns what is here, what is not, and how that can be had."""
    here = [finding for finding in findings if finding.state != "absent"]
    absent = [finding for finding in findings if finding.task not in {finding.task for finding in here}]
    headings = ("task", "source", "state", "train/val/test", "classes", "prepared")
    rows = [_row(finding) for finding in here]
    lines = [tabulate(rows, headings, tablefmt="simple", disable_numparse=True), ""] if rows else []
    remarks = _grouped((remark, finding) for finding in here for remark in finding.remarks)
    if absent:
        tasks = list(dict.fromkeys(finding.task for finding in absent))
        remarks.append(f"not here: {', '.join(tasks)}; how they can be had:")
    remarks += _grouped((f.access or FETCHED.get(f.source) or f.remarks[0], f) for f in absent)
    for remark in (*remarks, *notes):
        lines += textwrap.wrap(remark, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    count = len({finding.task for finding in findings})
    lines.append(f"{len(_right(findings))} of {count} tasks have a source that is right")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _row(finding: Finding) -> tuple[str, ...]:
    state = shown_subset(finding.task, finding.subset) if finding.state == "ok" else finding.state
    sizes = "/".join(str(counts.examples) for counts in finding.splits.values())
    classes = [str(counts.classes) for counts in finding.splits.values()]
    occurring = classes[0] if len(set(classes)) == 1 else "/".join(classes)
    return (finding.task, finding.source, state, sizes, occurring, finding.prepared)


def _grouped(remarks: Iterable[tuple[str, Finding]]) -> list[str]:
    """Return each remark once, with the kind of source and the tasks it is on."""
    findings: dict[str, list[Finding]] = {}
    for remark, finding in remarks:
        findings.setdefault(remark, []).append(finding)
    lines = []
    for remark, of_remark in findings.items():
        tasks = list(dict.fromkeys(finding.task for finding in of_remark))
        kinds = " or ".join(dict.fromkeys(finding.source for finding in of_remark))
        where = f"- {kinds} ({', '.join(tasks) if len(tasks) < MANY else f'{len(tasks)} tasks'}): "
        lines.append(where + remark.removeprefix(f"task {tasks[0]!r}: {kinds}: "))
    return lines
