"""What runs cost is known before they begin."""

import pytest

from mixer_bench.models.names import card
from mixer_bench.profile import profile
from mixer_bench.runs import cost
from mixer_bench.runs.options import Options
from mixer_bench.runs.request import request

H100 = 989e12  # FLOPs a second of bf16, dense (NVIDIA's data sheet)
EMBEDDED = {"task": ("clipart",), "model": ("mixer_nano", "vit_nano")}


def test_vtab_fine_tuning_takes_as_many_hours_as_by_hand() -> None:
    # 19 tasks x (3 rates + 3 seeds) x 2,500 steps of 512 images x 3 passes of 25.2 GFLOPs at 45 % of the peak.
    asked = request(Options(task=("vtab",), model=("mixer_b16",), protocol=("finetune",)))
    assert cost.flops(asked) / (0.45 * H100) / 3600 == pytest.approx(6.9, abs=0.1)


def test_a_request_weighs_what_its_parts_weigh_and_features_serve_all_probes() -> None:
    whole = request(Options(**EMBEDDED, protocol=("fewshot", "knn", "finetune")))
    parts = [
        request(Options(task=("clipart",), model=(model,), protocol=protocol))
        for model in EMBEDDED["model"]
        for protocol in (("fewshot",), ("finetune",))
    ]
    assert cost.flops(whole) == pytest.approx(sum(map(cost.flops, parts)))
    images = 500 + 125 + 642
    assert cost.flops(parts[0]) == images * cost.counted(card("mixer_nano")).flops


def test_what_has_no_network_weighs_nothing_and_images_of_ones_own_are_not_looked_at(tmp_path, monkeypatch) -> None:
    for name in ("apple", "pear"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    monkeypatch.setattr("mixer_bench.data.load", None)
    options = Options(task=(f"{tmp_path}",), model=("pixels", "mixer_nano"), protocol=("knn",), limit=10)
    assert cost.flops(request(options)) == 3 * 10 * cost.counted(card("mixer_nano")).flops


def test_a_count_is_kept_and_made_again_where_it_is_damaged(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MIXER_BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(cost, "_COUNTED", {})
    first = cost.counted(card("mixer_nano"))
    (file,) = (tmp_path / "flops").iterdir()
    cost._COUNTED.clear()
    with monkeypatch.context() as torchless:
        torchless.setattr(profile, "count", None)
        assert cost.counted(card("mixer_nano")) == first
    cost._COUNTED.clear()
    file.write_text(file.read_text().replace(str(first.flops), "1"))
    assert cost.counted(card("mixer_nano")) == first
