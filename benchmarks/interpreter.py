"""For how long an image that is prepared holds Python's interpreter, so that no other thread can prepare one.

    OMP_NUM_THREADS=1 python benchmarks/interpreter.py [--images 100] [--rounds 5]

That is processor time outside of what lets the interpreter go: decoders, resizes and SHA-256. Before and now are as in
``decode.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest import mock

import simplejpeg
from decode import SQUASH, before, jpegs, now
from PIL import Image

from mixer_bench.models import resampling

GET_DECODER = Image._getdecoder


class Free:
    """Processor time in which other threads may go on."""

    seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, whose time counts as free."""

        def call(*given: Any, **named: Any) -> Any:
            start = time.process_time()
            try:
                return function(*given, **named)
            finally:
                self.seconds += time.process_time() - start

        return call

    def decoder(self, *given: Any) -> Any:
        """Return Pillow's decoder, the time of whose ``decode`` counts as free."""
        decoder = GET_DECODER(*given)
        parts = {name: getattr(decoder, name) for name in ("setimage", "cleanup", "pulls_fd")}
        return SimpleNamespace(**parts, decode=self.timed(decoder.decode))


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    free, files = Free(), jpegs(options.images)
    loops = resampling._loops()
    compiled = [] if loops is None else [name for name, loop in vars(loops).items() if hasattr(loop, "py_func")]
    with ExitStack() as patched:
        for owner, name in (
            (Image.Image, "resize"),
            (hashlib, "sha256"),
            (simplejpeg, "decode_jpeg"),
            *((loops, name) for name in compiled),
        ):
            patched.enter_context(mock.patch.object(owner, name, free.timed(getattr(owner, name))))
        patched.enter_context(mock.patch.object(Image, "_getdecoder", free.decoder))
        for words, way in (("before", before), ("now", now)):
            took = []
            for _ in range(options.rounds + 1):  # the first one compiles
                free.seconds, start = 0.0, time.process_time()
                for file in files:
                    way(file, SQUASH)
                whole = time.process_time() - start
                took.append((whole - free.seconds, whole))
            spent, whole = (statistics.median(column[1:]) / len(files) * 1000 for column in zip(*took, strict=True))
            print(f"{words}: held for {spent:.3f} of {whole:.3f} ms an image, {spent / whole:.1%}")


if __name__ == "__main__":
    main()
