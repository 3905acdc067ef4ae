"""Functions that take a run away, and predict with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixer_bench.api.results import Place, place
from mixer_bench.runs.options import IMAGES, Options
from mixer_bench.system import config_file, files, network
from mixer_bench.system.options import documented

if TYPE_CHECKING:
    import pandas

    from mixer_bench.export.folder import Exported

# Options of ``run`` by which a run's weights and images are found, and where its probe is fitted again.
FINDING = ("task", "model", *IMAGES, "import_files", "device", "offline")


@documented(Options, *FINDING)
def export(run: str | Path, to: Place, results: Place | None = None, **options: Any) -> Exported:
    """Put network and probe of a run, or its trained network, into a folder; ``predict`` needs nothing else.

    Args:
        run: its record's file, its key, or the start of it.
        to: the folder that is made; an export of the same run is replaced.
        results: results folder; None: MIXER_BENCH_RESULTS, else ``results``.
        **options:

    Returns:
        What ``export.json`` in the folder says: classes, measured accuracy, licences, how timm loads it, the record.

    Raises:
        MixerBenchError: there is no such run, or it cannot be taken away; says what to do.
    """
    from mixer_bench.export import exporting
    from mixer_bench.runs.explain import find

    asked, _ = config_file.resolved(Options, options)
    with network.as_before():
        return exporting.export(find(str(run), place(results)), Path(to), asked, quiet=True)


def predict(
    folder: Place,
    images: Place | Sequence[Place],
    top: int = 5,
    device: str = "auto",
    batch_size: int | None = None,
    output: Place | None = None,
    import_files: Sequence[Place] = (),
) -> pandas.DataFrame:
    """Return what an exported model says of images, a row each.

    Args:
        folder: what ``export`` made.
        images: image files, and folders of them.
        top: how many classes of each image, the likeliest first.
        device: auto, cpu, cuda, cuda:1, ...
        batch_size: images a forward pass; None: as many as the run's.
        output: a file for the same rows as CSV, there whole or not at all; broken off, the same call goes on.
        import_files: Python files with networks of your own.

    Returns:
        The columns file, class, probability, class_2, probability_2, ..., error. Where the protocol gives no
        probabilities they are called score (fewshot) or share (knn). An image that cannot be read has an error alone.

    Raises:
        MixerBenchError: the folder is no export, or was changed; or there are no images.
    """
    import pandas

    from mixer_bench.export import journal
    from mixer_bench.export import output as formats
    from mixer_bench.export.listing import listed
    from mixer_bench.export.predicting import Predictor
    from mixer_bench.models.names import import_files as register

    register(map(Path, import_files))
    names = listed([str(images)] if isinstance(images, str | Path) else map(str, images)).files
    predictor = Predictor(Path(folder), device, batch_size)
    outputs, top = predictor.exported.outputs, min(top, len(predictor.exported.classes))
    file = None if output is None else Path(output)
    with journal.predicting(predictor, names, top, file) as told:
        predicted = [*told]
        if file is not None:
            files.deliver(file, "".join(formats.csv_lines(predicted, outputs, top)))
    return pandas.DataFrame([formats.row(said, top) for said in predicted], columns=formats.columns(outputs, top))
