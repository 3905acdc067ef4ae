"""Results for a model's page on the Hugging Face hub: README.md with a model-index, and .eval_results.

``huggingface_hub.ModelCard`` reads the first (https://github.com/huggingface/hub-docs, modelcard.md), and
``parse_eval_result_entries`` the second; both are plain YAML, written here without the library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mixer_bench import __version__
from mixer_bench.data.readers.hub import Repository
from mixer_bench.report.listed import Result, folders
from mixer_bench.system import files
from mixer_bench.system.console import escaped, printable
from mixer_bench.system.grouping import grouped

SOURCE = {"name": f"mixer-bench {__version__}", "url": f"https://pypi.org/project/mixer-bench/{__version__}/"}
README, ENTRIES = "README.md", ".eval_results/mixer-bench.yaml"


def write(models: Mapping[str, Sequence[Result]], bodies: Mapping[str, str], folder: Path) -> list[str]:
    """Write a folder a model; return what was left out, in words.

    Args:
        models: results by the model's label.
        bodies: Markdown of each, for its README.
        folder: is made if it is not there.

    Raises:
        ResultsError: it cannot be written.
    """
    left_out = 0
    for label, name in folders(models).items():
        results = models[label]
        entries = [_entry(result, place) for result in results if result.published and (place := result.repository)]
        left_out += len(results) - len(entries)
        texts = {README: f"---\n{_yaml(_front(label, results))}---\n\n# {escaped(label)}\n\n{bodies[label]}"}
        if entries:
            texts[ENTRIES] = _yaml(entries)
        elif (outdated := folder / name / ENTRIES).is_file():
            with files.reported(outdated, "name another folder"):
                outdated.unlink()
        for file, text in texts.items():
            files.deliver(folder / name / file, text, "name another folder")
    reason = "not on a published split as the hub has it, or limited, or of images that the model was trained on"
    return [f"{left_out} results are in README.md alone, not in .eval_results: {reason}"] if left_out else []


def _yaml(value: Any) -> str:
    # Once through JSON no part is the same object as another, which YAML would write as a reference. Without
    # ``allow_unicode`` signs that turn text around or steer a terminal stand as escapes.
    return str(yaml.safe_dump(json.loads(json.dumps(value)), sort_keys=False, default_flow_style=None, width=120))


def _front(label: str, results: Sequence[Result]) -> dict[str, Any]:
    by_data = grouped(results, lambda result: (result.record.run.variant, result.repository))
    return {
        "pipeline_tag": "image-classification",
        "model-index": [{"name": printable(label), "results": [_of_data(group) for group in by_data.values()]}],
    }


def _of_data(results: Sequence[Result]) -> dict[str, Any]:
    """Return the results on one variant of a task's images."""
    first, place = results[0], results[0].repository
    # Bare, a task's name may be that of another data set on the hub, which would link there.
    kind = place.repo if place else printable(f"mixer-bench/{first.record.run.task}")
    data = {"type": kind, "name": printable(first.on)}
    data |= {"config": place.config} if place and place.config else {}
    data |= {"split": first.split} if first.split else {}
    data |= {"revision": place.commit} if place else {}
    return {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": data,
        "metrics": [_metric(result) for result in results],
        "source": SOURCE,
    }


def _metric(result: Result) -> dict[str, Any]:
    kind, words = result.metric
    name = printable(f"{words}, {result.setting}")
    return {"type": kind, "name": name, "value": result.value, "args": result.settings}


def _entry(result: Result, place: Repository) -> dict[str, Any]:
    interval = result.interval
    certain = (
        f"95 % interval {interval[0]:.4f} to {interval[1]:.4f} over {result.over}"
        if interval
        else "no interval, nothing varied"
    )
    said = f"{result.on}: {result.metric[1]}, {result.setting}"
    return {
        "dataset": {"id": place.repo, "task_id": printable(result.record.run.task), "revision": place.commit},
        "value": result.value,
        "date": result.newest,
        "source": SOURCE,
        "notes": printable("; ".join([said, certain, *result.remarks])),
    }
