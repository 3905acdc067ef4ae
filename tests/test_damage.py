"""A small share of ``python -m tests.damage``, and the kinds of odd file that it and real files found."""

import contextlib
import functools
import os
import shutil
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mixer_bench.cli import app
from mixer_bench.data.decoding import decode
from mixer_bench.data.names import chosen_tasks
from mixer_bench.errors import DataError, MixerBenchError, UsageError
from mixer_bench.models import names, origin, weights
from mixer_bench.runs.options import Options
from mixer_bench.system import config_file, files, schema
from mixer_bench.system.paths import EMBEDDED
from tests import damaged_inputs, damaged_results
from tests.damage import Kind, Tally
from tests.data.test_decoding import chunk, encoded

KINDS = {**damaged_results.KINDS, **damaged_inputs.KINDS}
SLOW = ("hub.parquet", "hub.tar", "config.json", "list.csv")  # kinds whose reading takes a twentieth of a second


@pytest.mark.parametrize("name", KINDS)
def test_nothing_damaged_is_believed_and_nothing_ends_in_a_traceback(name: str) -> None:
    flips, fuzzed = (2, 4) if name in SLOW else (10, 20)
    with warnings.catch_warnings():
        tally = Tally.of(KINDS[name], flips, fuzzed, seed=1)
    assert tally.bad == []
    assert tally.gained < 1000
    assert sum(counts.total() for counts in tally.counts.values()) == flips + fuzzed


def test_the_damage_sees_what_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_checksum", lambda _values: "0" * 32)
    tally = Tally.of(KINDS["record"], 60, 0, seed=1)
    assert {outcome for _, _, outcome, _ in tally.bad} == {"believed"}


# --- no file but a pipe, a circle, an endless number


def test_a_pipe_in_a_files_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(OSError, match="no file but a pipe or device"):
            files.read(place)


@pytest.mark.parametrize("task", ["ring", "ring.csv", "hf:{}/ring", "images"])
def test_links_in_a_circle_are_refused_by_name(task: str, tmp_path: Path, capsys) -> None:
    damaged_results.images(tmp_path / "images")
    for place in ("ring", "ring.csv", "images/ants/ring.png"):
        (tmp_path / place).symlink_to(tmp_path / place)
    place = task.format(tmp_path) if ":" in task else str(tmp_path / task)
    assert app.main(["run", "--task", place, "--model", "pixels", "--protocol", "knn"]) == 3
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error:"))
    assert "ring" in line


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.toml", f"seeds = 0x{'f' * 5000}"),
        ("c.toml", "seeds = " + "9" * 5000),
        ("c.toml", f"task = {'[' * 5000}"),
        ("c.yaml", f"task: {'[' * 1500}"),
        ("c.yaml", "seeds: 0x" + "f" * 5000),
        (
            "c.yaml",
            "seeds: "
            + functools.reduce(lambda inner, name: f"[&{name} {inner}" + f", *{name}" * 9 + "]", "abcdefgh", "x"),
        ),
    ],
    ids=["hexadecimal", "decimal", "brackets", "brackets of YAML", "hexadecimal of YAML", "laughs"],
)
def test_endless_values_of_a_config_file_are_refused_in_a_short_line(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as refused:
        config_file.resolved(Options, {}, tmp_path / name)
    assert name in str(refused.value)
    assert len(str(refused.value)) < 500


def test_a_changed_record_of_a_pretraining_is_refused(tmp_path: Path) -> None:
    text = (EMBEDDED / "vit_nano.json").read_text()
    file = tmp_path / "vit_nano.json"
    file.write_text(text)
    seconds = origin.read_pretraining(file).device_seconds
    file.write_text(text.replace(str(seconds), str(seconds + 1)))
    with pytest.raises(MixerBenchError, match="changed since it was written"):
        origin.read_pretraining(file)


# --- kinds of real images


TURNED = Image.Exif()
TURNED[0x0112] = 6


@pytest.mark.parametrize(
    "said",
    [
        chunk(
            b"zTXt",
            b"Raw profile type exif\0\0" + zlib.compress(f"\nexif\n      26\n{TURNED.tobytes().hex()}\n".encode()),
        ),
        chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'),
    ],
    ids=["ImageMagick", "XMP"],
)
def test_an_orientation_in_a_png_s_texts_counts_as_in_pillow(said: bytes) -> None:
    stored = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    content = encoded(Image.fromarray(stored))
    place = content.index(b"IDAT") - 4
    content = content[:place] + said + content[place:]
    np.testing.assert_array_equal(decode(content, "it"), np.rot90(stored, -1))
    np.testing.assert_array_equal(decode(content, "it", upright=False), stored)


def test_few_bytes_that_claim_to_be_a_huge_image_never_fill_the_memory() -> None:
    small = encoded(Image.new("P", (9, 7)), "GIF", transparency=0)
    huge = (8_000).to_bytes(2, "little") * 2
    with pytest.raises(DataError, match="8000 x 8000 pixels in"):
        decode(small.replace(b"\x09\0\x07\0", huge), "it")


def test_libtiff_says_nothing_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    content = encoded(Image.fromarray(noise), "TIFF", compression="tiff_lzw")
    for place in range(8, len(content), 97):
        with contextlib.suppress(DataError):
            decode(content[:place] + b"\xff\xff" + content[place + 2 :], "it")
    assert capfd.readouterr().err == ""


def test_a_tilde_is_the_home_folder_wherever_a_path_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copy(EMBEDDED / "mixer_nano.safetensors", tmp_path / "w.safetensors")
    assert names.card("file:~/w.safetensors?arch=mixer_nano").weights == f"file:{tmp_path}/w.safetensors"
    damaged_results.images(tmp_path / "~images")
    for place in ("./~images", "~/~images", "hf:~/~images"):
        (task,) = chosen_tasks([place])
        assert task.source[0].model_dump()["repo" if "hf" in place else "folder"] == str(tmp_path / "~images")


def test_a_table_whose_columns_are_named_in_no_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    kind = damaged_inputs.hub_parquet(tmp_path)
    kind.file.write_bytes(kind.file.read_bytes().replace(b"label", b"l\xf9bel"))
    with pytest.raises(DataError, match=r"train\.parquet is damaged after 0 rows .*; fetch it again"):
        kind.read()


@pytest.mark.parametrize("kind", [damaged_inputs.hub_parquet, damaged_inputs.hub_tar])
def test_a_pipe_among_the_files_of_a_layout_is_named_and_not_waited_for(
    kind: Callable[[Path], Kind], tmp_path: Path
) -> None:
    layout = kind(tmp_path)
    layout.file.unlink()
    os.mkfifo(layout.file)
    with pytest.raises(DataError, match=rf"{layout.file.name}:? is no file"):
        layout.read()


def test_weights_and_tables_that_change_with_their_time_kept_are_read_again(tmp_path: Path) -> None:
    weights_file = tmp_path / "w.safetensors"
    shutil.copy(EMBEDDED / "mixer_nano.safetensors", weights_file)
    kind = damaged_inputs.hub_parquet(tmp_path)
    card = names.card(f"file:{weights_file}?arch=mixer_nano")
    before = [weights.identity(card), kind.read()]
    for file, content in ((weights_file, weights_file.read_bytes()[:-1] + b"\7"), (kind.file, None)):
        status = file.stat()
        if content is None:
            table = pq.read_table(file)
            pq.write_table(table.set_column(1, "label", [table["label"].to_pylist()[::-1]]), file)
        else:
            file.write_bytes(content)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = [weights.identity(card), kind.read()]
    assert [was == now for was, now in zip(before, after, strict=True)] == [False, False]
