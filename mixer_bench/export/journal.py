"""Predictions for a file, kept beside it until it is whole: broken off, the same command goes on."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from mixer_bench.errors import ResultsError
from mixer_bench.export.predicting import Predicted, Predictor
from mixer_bench.system import code, files
from mixer_bench.system.progress import unheard

MARK = "mixer-bench predict"  # how a journal begins; what follows says what it is for


@contextlib.contextmanager
def predicting(
    predictor: Predictor,
    names: Sequence[str],
    top: int,
    output: Path | None,
    heard: Callable[[Predicted], object] = unheard,
    say: Callable[[str], object] = unheard,
) -> Iterator[Iterator[Predicted]]:
    """Give what is said of image files, in order, those first that an unfinished try has; use as a context.

    What a try has lies in a file called as ``output`` with ``.part`` behind, a line an image, until the block ends. It
    is continued where model, code, options and all images, by size and time, are the same, and begun anew elsewhere.
    Without ``output``, or where that is a device or a pipe, nothing is kept.

    Raises:
        ResultsError: the journal cannot be written, another process writes it, or something else has its name.
    """
    if output is None or (output.exists() and not output.is_file()):
        yield predictor.predict(names, top, heard)
        return
    place = Path(f"{os.path.realpath(output)}.part")
    with _opened(place) as file:
        first = f"{MARK} {_purpose(predictor, names, top)}"
        with files.reported(place):
            done = _kept(file, first, predictor.batch_size, place, say)
        if done:
            say(f"{done} of {len(names)} images were predicted before: going on")
        yield itertools.chain(_told(file, done, heard), _noted(file, predictor.predict(names[done:], top, heard)))
    place.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(place: Path) -> Iterator[IO[bytes]]:
    with files.reported(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.open("a+b")
    with file:
        with contextlib.suppress(OSError):  # where there are no locks nobody can tell
            if not files.locked(file.fileno()):
                raise ResultsError(f"{place}: another process is writing it; wait, or name another file")
        yield file


def _purpose(predictor: Predictor, names: Sequence[str], top: int) -> str:
    """Return a digest of all that lines depend on: model, code, options, and images by name, size and time."""
    exported = predictor.exported
    of_model = [exported.model_dump_json(), code.installed(exported.record.run.protocol), top, *predictor.how]
    digest = hashlib.sha256(json.dumps(of_model, sort_keys=True).encode())
    for name in names:
        try:
            status = Path(name).stat()
            seen = (status.st_size, status.st_mtime_ns)
        except (OSError, ValueError):  # it is named where it is read
            seen = None
        digest.update(json.dumps([name, seen]).encode())
    return digest.hexdigest()


def _kept(file: IO[bytes], first: str, batch_size: int, place: Path, say: Callable[[str], object]) -> int:
    """Return how many images' lines are kept: whole ones of whole batches, as a batch's numbers hang together."""
    file.seek(0)
    begun = file.readline()
    if begun and not begun.startswith(MARK.encode()):
        raise ResultsError(f"{place} is in the way, no unfinished predictions; move it, or name another file")
    done, end, read = 0, 0, len(begun)
    if begun == f"{first}\n".encode():
        end = read
        for count, line in enumerate(file, start=1):
            if _predicted(line) is None:
                break
            read += len(line)
            if count % batch_size == 0:
                done, end = count, read
    elif begun:
        say(f"{place}: is of other images, another model or other options: begun anew")
    file.truncate(end)
    if not end:
        file.write(f"{first}\n".encode())
        file.flush()
    return done


def _predicted(line: bytes) -> Predicted | None:
    """Return what a line says; None where it is not whole, as the last one of who was killed."""
    try:
        name, classes, values, problem = json.loads(line)
    except ValueError:
        return None
    return Predicted(name, tuple(classes), tuple(values), problem)


def _told(file: IO[bytes], done: int, heard: Callable[[Predicted], object]) -> Iterator[Predicted]:
    """Give what the first ``done`` lines say."""
    file.seek(0)
    file.readline()
    for line in itertools.islice(file, done):
        said = _predicted(line)
        assert said is not None, "read before"
        heard(said)
        yield said


def _noted(file: IO[bytes], predicted: Iterable[Predicted]) -> Iterator[Predicted]:
    """Give what is predicted, each noted before."""
    for said in predicted:
        file.write(json.dumps([said.file, said.classes, said.values, said.problem]).encode() + b"\n")
        file.flush()
        yield said
