"""A record to a folder: what its run learned, with the network, so that neither data nor results are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixer_bench import data, protocols
from mixer_bench.errors import DataError, ResultsError, UsageError, WeightsError
from mixer_bench.export import folder
from mixer_bench.export.folder import MEANING, MODEL, PROBE, Accuracy, Exported, Licences, Outputs
from mixer_bench.models import checkpoints, names, networks, weights
from mixer_bench.models import origin as origin_module
from mixer_bench.models.card import Architecture, Card
from mixer_bench.report.formats import details
from mixer_bench.results import kept as kept_module
from mixer_bench.results import probes
from mixer_bench.results.kept import Kept
from mixer_bench.results.record import Record, Run
from mixer_bench.results.store import Store, predicted, read_record
from mixer_bench.runs import explain, keeping, machine
from mixer_bench.runs.features import Network
from mixer_bench.runs.options import Options
from mixer_bench.runs.plan import Group
from mixer_bench.runs.request import tasks_of
from mixer_bench.stats import metrics
from mixer_bench.stats.scores import Scale
from mixer_bench.system import network
from mixer_bench.system.console import tell
from mixer_bench.system.progress import ProgressLog
from mixer_bench.training import framing
from mixer_bench.training.settings import Config

OUTPUTS: dict[Scale, Outputs] = {"logits": "probability", "votes": "share", "order": "score"}


def export(file: Path, to: Path, options: Options, quiet: bool = False) -> Exported:
    """Take what a run learned away, with its network, into the folder ``to``.

    Args:
        file: of the run's record; what was kept lies beside it.
        to: made if it is not there; an export of the same run is replaced.
        options: where the weights are (``model``), if the record's name does not say it; and, of a run that kept
            nothing, where its images are.
        quiet: show no progress.

    Raises:
        UsageError: something else is in ``to``, or the record's name does not say where weights or images are.
        WeightsError: the weights are not here, or not those of the record.
        DataError: the images are not those of the record.
        ResultsError: the run learned nothing that can be taken away, or what is fitted again predicts otherwise.
    """
    record = read_record(file)
    folder.check_place(to, record.run.key)
    network.allow(not options.offline)
    names.import_files(options.import_files)
    kept = _kept(file, record, options, quiet)
    architecture: Architecture | None
    if kept.about["kind"] == "network":
        trained = Architecture.model_validate(kept.about["architecture"])
        state = {name: torch.from_numpy(values) for name, values in kept.tensors.items()}
        whole = networks.whole(trained, len(kept.about["classes"]), state, file.stem)
        architecture, contents = trained, {MODEL: checkpoints.content(whole)}
    else:
        card = _card(record.run, options)
        body = {MODEL: checkpoints.content(networks.body(card, tell))} if card.architecture else {}
        architecture, contents = card.network, {PROBE: kept.content, **body}
    return folder.write(to, contents, _about(record, kept, architecture))


def _kept(file: Path, record: Record, options: Options, quiet: bool) -> Kept:
    """Return what a run learned: as it was kept, or fitted again."""
    if record.kept:
        return kept_module.read(file.with_suffix(kept_module.SUFFIX), record.kept)
    if protocols.get(record.run.protocol).trains:
        command = f"{details.command(record.run, record.run.seed + 1)} --save-model --overwrite always"
        raise ResultsError(f"{file}: its trained network was not kept; train it again: {command}")
    with machine.joined(options, Store(options.output_dir)) as here:
        return _fitted_again(file, record, options, here, quiet)


def _fitted_again(file: Path, record: Record, options: Options, here: machine.Machine, quiet: bool) -> Kept:
    """Fit a run's probe as it was fitted, on features that are still there or computed anew, and prove it."""
    run, card = record.run, _card(record.run, options)
    task = tasks_of(options)[0] if options.task else explain.task_of(run.task, options.include)
    images = data.load(task, options.data_dir).limited(run.limit)
    if images.fingerprint != run.data:
        raise DataError(f"{task.name}: its images are not those of the record; explain {run.key} says what changed")
    group = Group(card, task, images, (), origin_module.origin(card))
    protocol = protocols.get(run.protocol)
    with ProgressLog(sum(map(len, images.splits.values())), quiet=quiet) as log:
        log.label(f"{card.name} on {task.name}: its probe was not kept, and is fitted again")
        features = here.features(card, Network.of(run), group.label, log)
        fitted = protocol.fit(features, images.development, protocol.config.model_validate(run.config), run.seed)
        predictions = fitted.scores(images.test).argmax(1)
    if fitted.probe is None:
        raise ResultsError(f"{run.protocol} gives no probe that can be taken away")
    (recorded,) = predicted(file.with_suffix(".npz"), record, "prediction")
    if differing := int(np.sum(predictions != recorded)):
        raise ResultsError(
            f"{file}: fitted again, {differing} of {len(recorded)} test images are predicted otherwise, as by other "
            "code or on another device: do the run again, with --overwrite always"
        )
    return keeping.whole(group, fitted.probe)


def _card(run: Run, options: Options) -> Card:
    """Return the card of a run's model, at the run's resolution.

    Raises:
        UsageError: the record does not say where the weights are.
        WeightsError: they are others.
    """
    if not options.model and run.model.startswith(("file:", "local-dir:")):
        raise UsageError(f"a record keeps no folder, so where {run.model!r} lies is not known; name it with --model")
    card = names.card(options.model[0] if options.model else run.model).at(run.preprocessing.resolution)
    if weights.identity(card) != run.weights:
        raise WeightsError(f"{card.name}: its weights are not those of the record; explain {run.key} says what changed")
    return card


def _about(record: Record, kept: Kept, architecture: Architecture | None) -> dict[str, Any]:
    """Return what an export says of itself, but for its files."""
    run = record.run
    trained = kept.about["kind"] == "network"
    frame = framing.judged_by(Config.model_validate(run.config), run.preprocessing) if trained else None
    outputs = "probability" if trained else OUTPUTS[probes.of(kept).scores_are]
    measured = record.metrics[run.metric]
    low, high = measured.ci95
    limited = "" if run.limit is None else f", limited to {run.limit} a split"
    words = (
        f"{metrics.get(run.metric).words} {measured.value:.1%} (95 % interval {low:.1%} to {high:.1%}) on {run.task}, "
        f"{record.n_test} test images{limited}"
    )
    return {
        "accuracy": Accuracy(metric=run.metric, measured=measured, test_images=record.n_test, words=words),
        "classes": tuple(kept.about["classes"]),
        "images": f"{frame.words}; normalised as the record's" if frame else run.preprocessing.words,
        "outputs": outputs,
        "meaning": MEANING[outputs],
        "upright": kept.about["upright"],
        "frame": frame and vars(frame),
        "architecture": architecture,
        "timm": _timm(architecture, len(kept.about["classes"])) if trained else "no: a probe is no part of a network",
        "licences": Licences(weights=record.origin.licence if record.origin else "", data=kept.about["licence"]),
        "record": record,
    }


def _timm(architecture: Architecture | None, classes: int) -> str:
    """Return the call by which timm loads a trained network, or why it cannot."""
    if architecture is None or architecture.timm is None or architecture.code is not None:
        return "no: the architecture is none of timm's by name"
    if architecture.standardisation_eps is not None:
        return "no: timm standardises convolutions with another epsilon, so that logits would differ"
    tanh = {"act_layer": "timm.layers.GELUTanh"} if architecture.gelu == "tanh" else {}
    args = {name: repr(value) for name, value in architecture.args.items()} | tanh
    told = "".join(f", {name}={value}" for name, value in args.items())
    return f"timm.create_model({architecture.timm!r}, num_classes={classes}{told}, checkpoint_path={MODEL!r})"
