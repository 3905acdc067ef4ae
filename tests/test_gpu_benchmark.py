"""The program that qualifies a GPU machine, as it runs where there is none."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mixer_bench.models import compiling

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(compiling, "BACKEND", compiling.BACKEND)
    import gpu

    yield gpu
    for name in ("gpu", "gpu_parts", "gpu_place", "finetune"):
        sys.modules.pop(name, None)


def test_parts_are_written_as_they_end_and_one_that_fails_stops_no_other(gpu, tmp_path: Path, monkeypatch) -> None:
    def fails(_place: object) -> Iterator[object]:
        yield gpu.Figure("what was measured before", 16_000.0, "images/s", 15_000.0)
        raise RuntimeError("CUDA error: an illegal\nmemory access")

    known = {part.name: part for part in gpu.parts([])}
    chosen = [
        gpu.Part("broken", fails, 60),
        gpu.Part("endless", lambda _place: iter(lambda: gpu.Figure("again", 1.0), None), gpu.LEAST),
        known["memory"],
        known["decoding"],
    ]
    monkeypatch.setattr(gpu, "LEAST", 0.1)
    monkeypatch.setattr(gpu, "parts", lambda _command: [chosen[0], chosen[1]._replace(seconds=0.2), *chosen[2:]])
    out = tmp_path / "out.md"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny", "--output", str(out)])
    gpu.main()
    lines = out.read_text().splitlines()
    assert "| what was measured before | 16,000 images/s | 15,000: reached |" in lines
    assert "| broken | FAILED: RuntimeError: CUDA error: an illegal memory access | |" in lines
    assert "| endless | FAILED: TimeoutError: not done in 0 s | |" in lines
    assert any(line.startswith("| memory ran out in a training step: images at once | 4 ") for line in lines)
    assert lines[-1].startswith("| JPEG of 80 x 60 px prepared")
    assert "these figures say nothing" in out.read_text()


def test_figures_of_a_try_never_take_the_place_of_a_gpus(gpu, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny"])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "name another file with --output" in capsys.readouterr().err


def test_a_parts_time_never_ends_in_what_is_done_with_a_figure(gpu) -> None:
    done = 0
    with pytest.raises(TimeoutError, match="not done in 0 s"):
        for _ in gpu.at_most(0.05, iter(lambda: gpu.Figure("again", 1.0), None)):
            time.sleep(0.1)  # as writing on a slow disk
            done += 1
    assert done == 1
