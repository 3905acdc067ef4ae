"""What is on this machine of each task's sources, and whether it is what the task file says. Fetches nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from tabulate import tabulate

from mixer_bench.data import assemble, loading, manifest
from mixer_bench.data.examples import TaskData
from mixer_bench.data.readers.vtab1k_folder import FOLDER
from mixer_bench.data.rows import Read
from mixer_bench.errors import Absent, DataError, UsageError
from mixer_bench.task.sources import JoinedSource, Source, Subset, Vtab1kFolderSource
from mixer_bench.task.task import Task

Labels = Mapping[str, np.ndarray]  # by split, int64 [N]; empty where there are none
JPEG = b"\xff\xd8\xff"
WIDTH = 100  # columns
MANY = 4  # tasks that are counted, not named
FETCHED: Mapping[str, str] = {
    "hub": "not fetched yet; mixer-bench prepare fetches it",
    "torchvision": "not fetched yet; mixer-bench prepare --source torchvision fetches it",
}
SHOWN = 5  # changed images that are named; --json has them all


class Counts(BaseModel):
    """Of one split."""

    model_config = ConfigDict(frozen=True)

    examples: int
    classes: int  # that occur
    fewest: int  # examples of the rarest of them
    most: int


class Finding(BaseModel):
    """One source of one task."""

    model_config = ConfigDict(frozen=True)

    task: str
    source: str
    state: Literal["ok", "absent", "wrong"]
    subset: Subset
    description: str = ""
    splits: dict[str, Counts] = {}
    prepared: Literal["yes", "no", "changed"] = "no"
    remarks: tuple[str, ...] = ()
    access: str = ""  # how it can be had
    unverified: tuple[str, ...] = ()


def examine(tasks: Sequence[Task], data_dir: Path) -> list[Finding]:
    """Look at every source of ``tasks``; each image that is there is hashed."""
    findings = []
    for task in tasks:
        findings += _compared([_examined(task, source, data_dir) for source in task.source])
    return findings


def exit_code(findings: Sequence[Finding]) -> int:
    """0 where each task has a source that is right and none that is wrong, else 3."""
    right = {found.task for found in findings if found.state == "ok"}
    wrong = any(found.state == "wrong" for found in findings)
    return DataError.exit_code if wrong or right != {found.task for found in findings} else 0


def _compared(looked: Sequence[tuple[Finding, Labels]]) -> list[Finding]:
    """The findings, those of VTAB's slices compared with a source whose order was rebuilt from keys, if one is here."""
    ordered = [(found, labels) for found, labels in looked if found.state == "ok" and found.subset == "official"]
    if not ordered:
        return [found for found, _ in looked]
    reference, expected = ordered[0]
    findings = []
    for found, labels in looked:
        if found.state != "ok" or found.subset == "resampled" or found is reference:
            findings.append(found)
            continue
        differing = [split for split in expected if not np.array_equal(labels[split], expected[split])]
        words = f"the labels of {', '.join(differing) or 'all splits'} are "
        words += f"not those of {reference.source}, in order" if differing else f"in {reference.source}'s order"
        state = "wrong" if differing else "ok"
        findings.append(found.model_copy(update={"state": state, "remarks": (*found.remarks, words)}))
    return findings


def _examined(task: Task, source: Source, data_dir: Path) -> tuple[Finding, Labels]:
    parts = source.part if isinstance(source, JoinedSource) else ()
    unverified = (*task.unverified, *source.unverified, *(note for part in parts for note in part.unverified))

    def finding(state: Literal["absent", "wrong"], remarks: Sequence[str]) -> tuple[Finding, Labels]:
        found = Finding(
            task=task.name,
            source=source.kind,
            state=state,
            subset=source.subset,
            remarks=tuple(remarks),
            access=source.access,
            unverified=unverified,
        )
        return found, {}

    read = None
    try:
        with loading.named(task, source):
            read = loading.read(source, data_dir)
            data = assemble.assembled(task, source, read, anew=True)
            changed = manifest.differences(task.name, source, data, data_dir)
    except Absent as absent:
        return finding("absent", [str(absent)])
    except (DataError, UsageError) as error:
        return finding("wrong", [str(error), *(_mistaken(task, read) if read else [])])
    remarks = _remarks(source, read)
    if changed:
        remarks += [*changed[:SHOWN], *([f"... {len(changed)} in all"] if len(changed) > SHOWN else [])]
    found = Finding(
        task=task.name,
        source=source.kind,
        state="wrong" if changed else "ok",
        subset=data.subset,
        description=data.source,
        splits=_counts(data),
        prepared="changed" if changed else "no" if changed is None else "yes",
        remarks=tuple(remarks),
        access=source.access,
        unverified=unverified,
    )
    return found, {split: examples.labels for split, examples in data.splits.items()}


def _mistaken(task: Task, read: Read) -> list[str]:
    """What a wrong number of classes is known to come from."""
    largest = max(int(rows.labels.max(initial=0)) for rows in read.splits.values())
    found = len(read.class_names) if read.class_names else largest + 1
    return [task.mistakes[found]] if found in task.mistakes else []


def _remarks(source: Source, read: Read) -> list[str]:
    remarks = []
    if isinstance(source, Vtab1kFolderSource):
        rows = next(iter(read.splits.values()))
        encoded = rows.stored.content(int(rows.positions[0])).startswith(JPEG)
        remarks.append(
            "images were saved as JPEG by the script that made this folder"
            if encoded
            else "images are not JPEG, unlike those of the usual folder: someone made it anew"
        )
    if source.order == "tfds":
        remarks.append(f"TFDS's order from md5(split + {source.key})")
    return remarks


def _counts(data: TaskData) -> dict[str, Counts]:
    found = {}
    for split, examples in data.splits.items():
        sizes = np.bincount(examples.labels)
        sizes = sizes[sizes > 0]
        found[split] = Counts(
            examples=len(examples), classes=len(sizes), fewest=int(sizes.min()), most=int(sizes.max())
        )
    return found


def whole_vtab(tasks: Sequence[Task], data_dir: Path) -> list[str]:
    """A word on a VTAB-1k folder that lacks tasks, as some copies do: no mean over 19 can come of it."""
    root = data_dir / FOLDER
    folders = {s.folder for task in tasks for s in task.source if isinstance(s, Vtab1kFolderSource)}
    missing = sorted(name for name in folders if not (root / name).is_dir())
    if not root.is_dir() or not missing:
        return []
    return [f"{root} has {len(folders) - len(missing)} of {len(folders)} tasks; it lacks {', '.join(missing)}"]


def text(findings: Sequence[Finding], notes: Sequence[str]) -> str:
    """For people, at most 100 columns: what is here, what is not, and how that can be had."""
    here = [found for found in findings if found.state != "absent"]
    absent = [found for found in findings if found.task not in {found.task for found in here}]
    rows = [
        (
            found.task,
            found.source,
            found.subset if found.state == "ok" else found.state,
            "/".join(f"{counts.examples}" for counts in found.splits.values()),
            _classes(found),
            found.prepared,
        )
        for found in here
    ]
    headings = ("task", "source", "state", "train/val/test", "classes", "prepared")
    lines = [tabulate(rows, headings, tablefmt="simple", disable_numparse=True), ""] if rows else []
    said = _said((remark, found) for found in here for remark in found.remarks)
    if absent:
        tasks = list(dict.fromkeys(found.task for found in absent))
        said.append(f"not here: {', '.join(tasks)}; how they can be had:")
    said += _said((found.access or FETCHED.get(found.source) or found.remarks[0], found) for found in absent)
    for remark in (*said, *notes):
        lines += textwrap.wrap(remark, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    right = {found.task for found in findings if found.state == "ok"}
    lines.append(f"{len(right)} of {len({found.task for found in findings})} tasks have a source that is right")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _classes(found: Finding) -> str:
    """How many occur: one number if they do in every split."""
    counts = [str(counts.classes) for counts in found.splits.values()]
    return counts[0] if len(set(counts)) == 1 else "/".join(counts)


def _said(remarks: Iterable[tuple[str, Finding]]) -> list[str]:
    """Each remark once, with the kind of source and the tasks it is on."""
    places: dict[str, list[Finding]] = {}
    for remark, found in remarks:
        places.setdefault(remark, []).append(found)
    lines = []
    for remark, on in places.items():
        tasks = list(dict.fromkeys(found.task for found in on))
        kinds = " or ".join(dict.fromkeys(found.source for found in on))
        where = f"- {kinds} ({', '.join(tasks) if len(tasks) < MANY else f'{len(tasks)} tasks'}): "
        lines.append(where + remark.removeprefix(f"task {tasks[0]!r}: {kinds}: "))
    return lines
