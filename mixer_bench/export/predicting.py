"""Images of any number and size to what an exported model says of them, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from mixer_bench.data.decoding import decode
from mixer_bench.data.examples import Examples
from mixer_bench.errors import DataError, ResultsError
from mixer_bench.export import folder as folder_module
from mixer_bench.export.folder import MODEL, PROBE
from mixer_bench.models import backbone, checkpoints, networks
from mixer_bench.models.device import exact_fp32, pick_device, placed, works_alone
from mixer_bench.models.matrices import Resizer
from mixer_bench.results import kept, probes
from mixer_bench.runs import squares
from mixer_bench.runs.machine import CPU_BATCH_SIZE, GPU_BATCH_SIZE
from mixer_bench.stats.scores import Scale, probabilities
from mixer_bench.system import code, files
from mixer_bench.system.console import tell
from mixer_bench.system.machine import Precision
from mixer_bench.system.progress import unheard
from mixer_bench.training.finetuning import JUDGED, softmax
from mixer_bench.training.framing import Frame
from mixer_bench.training.images import Corpus

BLANK = np.zeros((1, 1, 3), np.uint8)  # stands for an image that cannot be decoded
IDLE = ("data", "metrics")  # concerns of a run's code that predictions do not depend on
Scores = Callable[[Examples], Iterator[np.ndarray]]  # float64 [n, classes] of each batch


@dataclass(frozen=True)
class Predicted:
    """What is said of an image: its likeliest classes with what is told of each, or why there is nothing to say."""

    file: str
    classes: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    problem: str = ""


@dataclass
class _Files:
    """Image files by position, decoded when asked for; what cannot be is noted, and ``BLANK``."""

    names: Sequence[str]
    upright: bool
    problems: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int, /) -> np.ndarray:
        name = self.names[index]
        try:
            return decode(files.read(name), name, self.upright)
        except DataError as error:
            self.problems[index] = str(error)
        except (OSError, ValueError) as error:  # the latter for a NUL in the name
            self.problems[index] = f"{name}: cannot be read ({getattr(error, 'strerror', error)})"
        return BLANK


class Predictor:
    """An exported model in memory."""

    def __init__(self, folder: Path, device: str = "auto", batch_size: int | None = None) -> None:
        """Load the export in ``folder``.

        Raises:
            ResultsError: it is none, or was changed; names the file.
            UsageError: there is no such device.
        """
        self.exported = folder_module.read(folder)
        self._device = pick_device(device)
        run, on_cpu = self.exported.record.run, self._device.type == "cpu"
        elsewhere = on_cpu and not self.exported.record.environment.get("device", "cpu").startswith("cpu")
        self._precision: Precision = "fp32" if elsewhere else run.precision
        usual = CPU_BATCH_SIZE if on_cpu else GPU_BATCH_SIZE
        self.batch_size = batch_size or (JUDGED if self.exported.trained else usual)
        self._scale: Scale = "probabilities"  # of scores
        try:
            with exact_fp32():
                self._scores = self._network(folder) if self.exported.trained else self._probe(folder)
        except (KeyError, TypeError, ValueError) as error:  # sound files that say nothing sensible
            raise ResultsError(f"{folder}: network and probe do not fit together ({error})") from None
        other = [name for name in code.differing(self.exported.record.code, run.protocol) if name not in IDLE]
        if other:
            tell(f"{folder}: was made by other code than this ({', '.join(other)}): predictions may differ in places")

    @property
    def how(self) -> tuple[str, str, int]:
        """What moves last digits: device, precision, images a batch."""
        return str(self._device), self._precision, self.batch_size

    def predict(
        self, names: Sequence[str], top: int, heard: Callable[[Predicted], object] = unheard
    ) -> Iterator[Predicted]:
        """Give, and tell ``heard``, what is said of each image file, in order, with its ``top`` classes."""
        images = _Files(names, self.exported.upright)
        examples = Examples(images, np.zeros(len(names), np.int64), tuple(names), ("",) * len(names))
        done = 0
        with exact_fp32():
            for scores in self._scores(examples) if names else ():
                for place, row in enumerate(scores, done):
                    problem = images.problems.pop(place, "") or _undefined(row, names[place])
                    said = Predicted(names[place], problem=problem) if problem else self._said(names[place], row, top)
                    heard(said)
                    yield said
                done += len(scores)

    def _said(self, name: str, scores: np.ndarray, top: int) -> Predicted:
        first = np.argsort(-scores, kind="stable")[:top]  # of equals the first, as a run takes it
        told = probabilities(scores[None], self._scale)
        values = (scores if told is None else told[0])[first]
        return Predicted(name, tuple(self.exported.classes[i] for i in first), tuple(map(float, values)))

    def _probe(self, folder: Path) -> Scores:
        """Load the backbone and the probe on its features."""
        preprocessing = self.exported.record.run.preprocessing
        probe = probes.of(kept.read(folder / PROBE, self.exported.files[PROBE]))
        self._scale = probe.scores_are
        model = backbone.load(self.exported.card(folder), preprocessing, self._device, self._precision)
        resizer = Resizer(preprocessing, self._device) if works_alone(self._device) else None
        ahead = squares.READ_AHEAD if model.overlaps else 0
        blank = model.features(np.zeros((1, preprocessing.resolution, preprocessing.resolution, 3), np.uint8))
        if (shape := probe.scores(blank).shape) != (1, len(self.exported.classes)):
            raise ValueError(f"scores of shape {shape} for {len(self.exported.classes)} classes")

        def scores(examples: Examples) -> Iterator[np.ndarray]:
            for batch in squares.batches(examples, preprocessing, self.batch_size, ahead, resizer):
                yield probe.scores(model.features(batch))

        return scores

    def _network(self, folder: Path) -> Scores:
        """Load the trained network."""
        exported, preprocessing = self.exported, self.exported.record.run.preprocessing
        if exported.architecture is None or exported.frame is None:
            raise ResultsError(f"{folder / folder_module.ABOUT}: has a trained network and does not say which")
        state = checkpoints.read(folder / MODEL)
        network = placed(networks.whole(exported.architecture, len(exported.classes), state, MODEL), self._device)
        frame = Frame(**exported.frame)

        def scores(examples: Examples) -> Iterator[np.ndarray]:
            corpus = Corpus(examples, frame, self._device, resident=False)
            parts = torch.arange(len(examples)).split(self.batch_size)
            for part, following in zip(parts, [*parts[1:], parts[0][:0]], strict=True):
                images = corpus.squares(part)
                corpus.expect(following)
                yield softmax(network, images, preprocessing, self._precision)()

        return scores


def _undefined(scores: np.ndarray, name: str) -> str:
    return "" if np.isfinite(scores.max()) else f"{name}: the model gives infinite or undefined scores"
