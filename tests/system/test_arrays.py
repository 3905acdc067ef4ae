"""Arrays of strangers: nothing is unpacked that could fill the memory."""

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mixer_bench.errors import WeightsError
from mixer_bench.models import checkpoints
from mixer_bench.results.store import Predictions, Store
from mixer_bench.system import arrays
from tests.builders import a_record

MANY = 20_000_000  # bytes that unpack from 20 kB


def zeros(count: int = MANY, told: int | None = None) -> bytes:
    """Return the file of an array of so many zeros, whose header may tell another number."""
    content = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (count if told is None else told,)}
    np.lib.format.write_array_header_1_0(content, shape)
    return content.getvalue() + bytes(count)


def packed(**entries: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, entry in entries.items():
            archive.writestr(f"{name}.npy", entry)
    return content.getvalue()


def lying(content: bytes) -> bytes:
    """Return the archive with sizes of 1,000 bytes in its directory."""
    start = content.index(b"PK\1\2")
    return content[: start + 24] + struct.pack("<I", 1000) + content[start + 28 :]


def overlapping(content: bytes) -> bytes:
    """Return the archive with every entry of its directory leading to the first one's content."""
    start = content.index(b"PK\1\2")
    first, *others = content[start:].split(b"PK\1\2")[1:]
    others = [other[:38] + struct.pack("<I", 0) + other[42:] for other in others]
    return content[:start] + b"".join(b"PK\1\2" + entry for entry in (first, *others))


BOMBS = {
    "many": (packed(label=zeros(), prediction=zeros()), "would unpack to"),
    "one unasked": (packed(label=zeros(10), prediction=zeros(10), beside=zeros()), "would unpack to"),
    "lying": (lying(packed(label=zeros())), "checksum|size"),
    "overlapping": (overlapping(packed(label=zeros(90), prediction=zeros(90))), "overlaps"),
    "header": (packed(label=zeros(90, told=1 << 50), prediction=zeros(90)), "reshape"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_fills_the_memory(name: str, tmp_path: Path) -> None:
    content, said = BOMBS[name]
    (tmp_path / "a.npz").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(arrays.DamagedFile, match=said):
        arrays.load(tmp_path / "a.npz", "label", "prediction", most=1000)
    with pytest.raises(WeightsError, match=f"a.npz .*{said if name != 'lying' else ''}") as refused:
        checkpoints.read(tmp_path / "a.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MANY / 4
    assert "\n" not in str(refused.value)


def test_predictions_are_no_more_than_the_record_has_examples(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from mixer_bench.cli import app

    store, some = Store(tmp_path), np.zeros(900, np.int64)
    record = a_record(1.0)
    file = store.save(record, Predictions(some, some, some.astype(np.float64))).with_suffix(".npz")
    assert len(store.predictions(record).score) == record.n_test
    assert app.main(["merge", str(tmp_path / "into"), str(tmp_path)]) == 0
    file.write_bytes(packed(label=zeros(), prediction=zeros(), score=zeros()))
    assert app.main(["merge", str(tmp_path / "into"), str(tmp_path)]) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert f"{file}: no predictions" in told
    assert "at most 28,800 belong" in told
