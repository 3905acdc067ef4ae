"""Results as Every Eval Ever has them (https://github.com/evaleval/every_eval_ever, schema 0.3.0).

A JSON file for each model and task, where its datastore has it: ``data/<collection>/<developer>/<model>/<uuid>.json``;
beside it, where that is asked for, ``<uuid>_samples.jsonl`` with a line for each result, seed and test image. What is
made of the same records has the same names and content.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from mixer_bench.errors import ResultsError
from mixer_bench.models.card import Origin
from mixer_bench.report.listed import Result
from mixer_bench.report.models import About
from mixer_bench.results import answers
from mixer_bench.results.record import Record
from mixer_bench.results.store import as_folder
from mixer_bench.system import files
from mixer_bench.system.console import printable
from mixer_bench.system.grouping import grouped

SCHEMA = "0.3.0"
COLLECTION = "mixer-bench"
HUB = re.compile(r"hf-hub:([\w.-]+)/([\w.-]+)(?:@.*)?")
OURS = re.compile(r"embedded:.*|random|none")  # sources of weights that only this package names
RESERVED = ("data", "unknown")  # names that its datastore refuses
Read = Callable[[Record], tuple[np.ndarray, np.ndarray]]


def write(models: Mapping[str, Sequence[Result]], about: About, folder: Path, read: Read | None = None) -> list[str]:
    """Write all results below ``folder``; return what was there before and is of other runs, in words.

    Args:
        models: results by the model's label.
        about: what is known of the models.
        folder: is made if it is not there.
        read: gives label and prediction [N] of a record, for lines of single images; None: there are none.

    Raises:
        ResultsError: it cannot be written, or predictions are gone or do not give their record's value.
    """
    before = set((folder / "data" / COLLECTION).rglob("*.json"))
    for every in models.values():
        for results in grouped(every, lambda result: result.record.run.variant).values():
            log = _log(results, about.origin(results[0].record))
            info, identity = log["model_info"], log["evaluation_id"]
            # The datastore takes random UUIDs alone; this one is the same whenever it is made of the same runs.
            digest = uuid.UUID(bytes=hashlib.sha256(identity.encode()).digest()[:16], version=4)
            place = f"data/{COLLECTION}/{info['id']}/{digest}"
            if read is not None:
                log["detailed_evaluation_results"] = {
                    "format": "jsonl",
                    "file_path": f"{place}_samples.jsonl",
                    "hash_algorithm": "sha256",
                    **_samples(log, results, folder / f"{place}_samples.jsonl", read),
                }
            text = json.dumps(log, indent=1, allow_nan=False) + "\n"
            files.deliver(folder / f"{place}.json", text, "name another folder")
            before.discard(folder / f"{place}.json")
    return [f"{len(before)} files of other runs were there before and are left, as {min(before)}"] if before else []


def _log(results: Sequence[Result], origin: Origin) -> dict[str, Any]:
    """Return the file for one model on one variant of a task's images; its place and name say nothing of others.

    A table's label of the model would: "a model (crop)" where it is there with another preprocessing too.
    """
    first, newest = results[0].record, max(result.newest for result in results)
    name = as_folder(first.run.model).rstrip(".")
    keys = sorted(record.run.key for result in results for record in result.cell.records)
    told = hashlib.sha256(" ".join([first.run.model, *keys]).encode()).hexdigest()[:16]
    return {
        "schema_version": SCHEMA,
        "evaluation_id": f"{COLLECTION}/{printable(first.run.task)}/{name}/{told}",
        "evaluation_timestamp": newest,
        "retrieved_timestamp": _epoch(newest),
        "source_metadata": {
            "source_name": "mixer-bench",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",  # records name no people
            "evaluator_relationship": "other",
        },
        "eval_library": {
            "name": "mixer-bench",
            "version": first.environment.get("mixer-bench", "unknown"),
            "additional_details": dict(first.environment),
        },
        "model_info": _model(results[0], name, origin),
        "evaluation_results": [_result(result) for result in results],
    }


def _epoch(created: str) -> str:
    """Return a time of ISO 8601 as seconds since 1970."""
    try:
        return f"{datetime.fromisoformat(created).timestamp():.0f}"
    except ValueError:
        raise ResultsError(f"a record was created at {created!r}, which is no time; leave it out") from None


def _model(result: Result, name: str, origin: Origin) -> dict[str, Any]:
    hub, run = HUB.fullmatch(origin.source), result.record.run
    developer, model = (hub[1], hub[2]) if hub else (COLLECTION if OURS.fullmatch(origin.source) else "local", name)
    details = {
        "deployment_type": "self_deployed",
        "model_availability": "open_weights" if hub or origin.source.startswith("embedded:") else "unknown",
        "weights": f"{origin.source}, SHA-256 with the architecture {run.weights}",
        "pretraining": origin.pretrain,
        "family": origin.family,
        "licence": origin.licence,
    }
    return {
        "name": printable(run.model),
        "id": f"{_component(developer)}/{_component(model)}",
        "inference_engine": {"name": "torch", "version": result.record.environment.get("torch", "unknown")},
        "additional_details": details,
    }


def _component(name: str) -> str:
    safe = name.rstrip(". ") or "_"
    return f"{safe}_" if safe in RESERVED else safe


def _result(result: Result) -> dict[str, Any]:
    kind, words = result.metric
    return {
        "evaluation_result_id": _identity(result),
        "evaluation_name": printable(f"{COLLECTION}.{result.on}.{result.setting}"),
        "source_data": _data(result),
        "evaluation_timestamp": result.newest,
        "metric_config": {
            "evaluation_description": printable(f"{words} on {result.on}, {result.setting}"),
            "metric_id": kind,
            "metric_name": words,
            "metric_kind": kind,
            "metric_unit": "proportion",
            "lower_is_better": False,  # a task's own metric: settings are selected by the highest
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": 1.0,
        },
        "score_details": _score(result),
        "generation_config": {"additional_details": _texts(result.settings)},
    }


def _identity(result: Result) -> str:
    """Return what tells a result from the others of its model and task, whatever else is reported."""
    run, metric = result.record.run, result.cell.metric
    said = hashlib.sha256(f"{run.network} {run.setting.text}".encode()).hexdigest()[:12]
    return f"{run.protocol}-{metric}-{said}"


def _data(result: Result) -> dict[str, Any]:
    record, place = result.record, result.repository
    details = {"source": record.source, "fingerprint": record.run.data, "subset": record.run.variant.shown_subset}
    named = {"dataset_name": printable(result.on)}
    if place is None:
        return {**named, "source_type": "other", "additional_details": details}
    details |= {"revision": place.commit, "config": place.config or "default"}
    hub = {"source_type": "hf_dataset", "hf_repo": place.repo, "hf_split": "test", "samples_number": record.n_test}
    return {**named, **hub, "additional_details": details}


def _score(result: Result) -> dict[str, Any]:
    cell, interval = result.cell, result.interval
    by_seed = {f"seed {seed}": repr(value) for seed, value in sorted(cell.by_seed.items())}
    told = {"score": result.value, "details": by_seed | _texts({"remarks": result.remarks or None})}
    if interval is None:
        return told
    over = "Student's t over seeds" if cell.over_seeds else "of the metric, over another test sample"
    bounds = {"lower": interval[0], "upper": interval[1], "confidence_level": 0.95, "method": over}
    return told | {
        "uncertainty": {
            "confidence_interval": bounds,
            "num_samples": cell.seeds if cell.over_seeds else result.record.n_test,
        }
    }


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as the schema takes them: texts, of what is none JSON."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in values.items()
        if value is not None
    }


def _samples(log: Mapping[str, Any], results: Sequence[Result], file: Path, read: Read) -> dict[str, Any]:
    """Write a line for each result, seed and test image; return the file's checksum and number of lines."""
    digest, count = hashlib.sha256(), 0
    shared = {
        "schema_version": SCHEMA,
        "evaluation_id": log["evaluation_id"],
        "model_id": log["model_info"]["id"],
    }
    with files.delivering(file, "name another folder") as opened:
        for line in _lines(results, shared, read):
            content = (json.dumps(line) + "\n").encode()
            digest.update(content)
            opened.write(content)
            count += 1
    return {"checksum": digest.hexdigest(), "total_rows": count}


def _lines(results: Sequence[Result], shared: Mapping[str, Any], read: Read) -> Iterator[dict[str, Any]]:
    for result in results:
        if result.cell.metric != result.record.run.metric:
            continue  # ReaL's labels are not kept with predictions
        named = {"evaluation_name": printable(f"{COLLECTION}.{result.on}.{result.setting}")}
        named |= {"evaluation_result_id": _identity(result)}
        for record in sorted(result.cell.records, key=lambda record: record.run.seed):
            label, prediction = read(record)
            answers.check(record, label, prediction)
            for number, (right, guess) in enumerate(zip(label.tolist(), prediction.tolist(), strict=True)):
                yield {**shared, **named, **_sample(record, number, str(right), str(guess))}


def _sample(record: Record, number: int, right: str, guess: str) -> dict[str, Any]:
    """Return what the line of a test image says: records have numbers of images and classes, not their names."""
    return {
        "sample_id": f"test/{number}",
        "interaction_type": "single_turn",
        "input": {"raw": f"test image {number} of {printable(record.run.task)}", "reference": [right]},
        "output": {"raw": [guess]},
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": guess,
                "extraction_method": "class of the highest score",
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": float(guess == right), "is_correct": guess == right},
        "metadata": {"seed": str(record.run.seed), "run": record.run.key},
    }
