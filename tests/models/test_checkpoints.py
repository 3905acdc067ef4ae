"""Weights are loaded whole or refused, and no pickled code is run; timm itself would fill gaps with random numbers."""

import argparse
import io
import pathlib
import pickle
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save, save_file
from torch import nn

from mixer_bench.cli import app
from mixer_bench.errors import UsageError, WeightsError
from mixer_bench.models import checkpoints, names, networks, weights
from mixer_bench.models.card import Architecture
from mixer_bench.models.checkpoints import State
from tests.models.logits import mixer, nano_state, with_its_classifier


def load(file: Path, options: str = "", arch: str = "mixer_nano") -> torch.nn.Module:
    return networks.body(names.card(f"file:{file}?arch={arch}{options}"), print).eval()


def assert_equal(actual: State, expected: State) -> None:
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["mixer_nano", "vit_nano", "resnet_nano"])
def test_written_and_read_again_the_features_are_the_same(name: str, tmp_path: Path) -> None:
    network = networks.headless(networks.build(names.card(name).architecture, 1, seed=3)).eval()
    checkpoints.write(network, tmp_path / "w.safetensors", torch.float32)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path / "w.safetensors", arch=name)(images), network(images), rtol=0, atol=0)


def test_half_precision_files_are_half_as_large_and_load_as_float32(tmp_path: Path) -> None:
    network = networks.build(names.card("mixer_nano").architecture, 1)
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    checkpoints.write(network, full, torch.float32)
    checkpoints.write(network, half, torch.float16)
    assert half.stat().st_size < 0.6 * full.stat().st_size
    assert {tensor.dtype for tensor in load_file(half).values()} == {torch.float16}
    assert {tensor.dtype for tensor in checkpoints.read(half).values()} == {torch.float32}


def test_a_classifier_in_the_file_is_left_out_and_its_classes_can_be_named(tmp_path: Path) -> None:
    save_file(nano_state(), tmp_path / "w.safetensors")
    for options in ("", "&classes=10"):
        assert load(tmp_path / "w.safetensors", options)(torch.zeros(1, 3, 64, 64)).shape == (1, 192)
    with pytest.raises(WeightsError, match="10 classes apart, not 7"):
        load(tmp_path / "w.safetensors", "&classes=7")


def with_nan(tensor: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.tensor([float("nan")]), tensor[1:]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {n: t for n, t in s.items() if not n.startswith("blocks.2.")}, "tensors are missing .blocks.2"),
        (lambda s: {**s, "decoder.weight": torch.zeros(3)}, "1 belong to no part of the network .decoder.weight"),
        (lambda s: {**s, "norm.weight": torch.ones(191)}, r"norm.weight: \[191\] in the file, \[192\] in the network"),
        (lambda s: {**s, "norm.weight": with_nan(s["norm.weight"])}, "infinite or undefined values .norm.weight"),
        (lambda _: networks.build(names.card("vit_nano").architecture, 1).state_dict(), "missing"),
        (lambda s: {n: (t * 100).to(torch.int32) for n, t in s.items()}, "another kind of number"),
        (lambda s: {**s, "norm.weight": s["norm.weight"].to(torch.complex64)}, "complex"),
        (lambda s: {**s, "norm.weight": s["norm.weight"].to_sparse()}, "sparse"),
        (lambda s: {**s, "norm.weight": s["norm.weight"].to("meta")}, "empty shells"),
        (lambda s: {**s, "head.weight": torch.zeros(10)}, r"head.weight \[10\]"),
        (lambda s: {**s, "head.weight": torch.zeros(10, 191)}, r"head.weight \[10, 191\], not .10, 192."),
        (lambda s: {**s, "head.bias": torch.zeros(())}, r"head.bias \[\]"),
        (lambda s: {**s, "head.bias": torch.zeros(9)}, r"head.bias \[9\]"),
        (lambda s: {**s, "pre_logits.fc.weight": torch.zeros(3)}, "pre_logits.fc.weight"),
    ],
)
def test_what_does_not_fit_is_refused(change: Callable[[State], State], said: str, tmp_path: Path) -> None:
    torch.save(change(nano_state()), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=said):
        load(tmp_path / "w.pth")


class Malice:
    """What a pickle with code in it would run."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("pickled code was run",))


def torch_saved(value: object) -> bytes:
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def npz_saved(arrays: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


PAGE = b"<!DOCTYPE html><html><title>404</title></html>"


@pytest.mark.parametrize(
    ("suffix", "content", "said"),
    [
        ("safetensors", lambda: save(nano_state())[:5000], "no whole safetensors file"),
        ("safetensors", lambda: b"", "no whole safetensors file"),
        ("safetensors", lambda: b"\x80\x04\x95pickle", "no whole safetensors file"),
        ("safetensors", lambda: PAGE, "is a web page, no whole safetensors file"),
        ("pth", lambda: pickle.dumps({"head.weight": Malice()}), "pickled code, which is never run"),
        ("pth", lambda: torch_saved({"state_dict": nano_state(), "hook": Malice()}), r"code \(print\), which is never"),
        ("pth", lambda: torch_saved(nano_state())[:20000], "no whole PyTorch file"),
        ("pth", lambda: torch_saved([torch.zeros(3)]), "holds no table of tensors"),
        ("pth", lambda: b"", "w.pth"),
        ("pth", lambda: PAGE, "is a web page"),
        ("npz", lambda: npz_saved(mixer("newer", 2, 512, 32))[:9000], "no whole .npz"),
        ("npz", lambda: npz_saved(mixer("newer", 2, 512, 32)), r"tensors are missing \(blocks.2"),
        ("onnx", lambda: b"weights", "weights come in files ending with .safetensors, .npz, .pth"),
    ],
)
def test_what_is_no_file_of_tensors_is_refused(suffix: str, content, said: str, tmp_path: Path, capsys) -> None:
    (tmp_path / f"w.{suffix}").write_bytes(content())
    with pytest.raises(WeightsError, match=said):
        load(tmp_path / f"w.{suffix}", arch="mixer_s32" if suffix == "npz" else "mixer_nano")
    assert "pickled code was run" not in capsys.readouterr().out


@pytest.mark.parametrize(("content", "said"), [(None, "there is no such file"), (b"", "is no whole safetensors file")])
def test_a_refused_checkpoint_ends_with_3_and_leaves_no_record(content, said: str, tmp_path: Path, capsys) -> None:
    if content is not None:
        (tmp_path / "w.safetensors").write_bytes(content)
    model = f"file:{tmp_path / 'w.safetensors'}?arch=mixer_nano"
    command = ["run", "--task", "digits", "--limit", "40", "--model", model, "--protocol", "fewshot"]
    assert app.main([*command, "--output-dir", str(tmp_path / "r")]) == 3
    told = capsys.readouterr().err
    assert "0 runs done, 0 failed, 12 not done" in told or "error: " in told
    assert said in told.partition("error: ")[2], "the reason is said last"
    assert list((tmp_path / "r").rglob("*.json")) == []


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda s: {"state_dict": s},
        lambda s: {"model": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {"state_dict_ema": s, "epoch": 3},
        lambda s: {"checkpoint": {"net": s}, "optimizer": {"state": {}}},
        lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"model._orig_mod.module.{k}": v for k, v in s.items()}},
        lambda s: {f"_forward_module._fsdp_wrapped_module.{k}": v for k, v in s.items()},
        lambda s: {k.replace("blocks.1.", "blocks.1._orig_mod._checkpoint_wrapped_module."): v for k, v in s.items()},
        lambda s: {
            "state_dict": s,
            "args": argparse.Namespace(model="mixer_nano", lr=0.1),
            "metric": np.float64(0.5),
            "random": np.random.RandomState(0).get_state()[1],
        },
    ],
)
def test_a_pth_file_is_loaded_however_it_is_wrapped(wrap: Callable[[State], object], tmp_path: Path) -> None:
    torch.save(wrap(nano_state()), tmp_path / "w.pth")
    card = names.card(f"file:{tmp_path / 'w.pth'}?arch=mixer_nano")
    assert_equal(with_its_classifier(card).state_dict(), nano_state())


def test_a_file_with_code_is_converted_by_the_command_that_its_refusal_names(tmp_path: Path) -> None:
    torch.save({"state_dict": nano_state(), "place": pathlib.PurePosixPath("x")}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"pickled code \(pathlib.*\), which is never run") as raised:
        load(tmp_path / "w.pth")
    command = shlex.split(str(raised.value).partition("where you trust it: ")[2])
    command[0], command[-2:] = sys.executable, [str(tmp_path / "w.pth"), str(tmp_path / "w.safetensors")]
    subprocess.run(command, check=True)
    assert_equal(checkpoints.read(tmp_path / "w.safetensors"), nano_state())


def test_counters_of_batch_normalisation_may_be_missing(tmp_path: Path) -> None:
    """As in torchvision's ResNets of 2018, such as resnet50-19c8e357.pth."""
    network = timm.create_model("resnet10t", num_classes=7).eval()
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert len(state) < len(network.state_dict())
    torch.save(state, tmp_path / "w.pth")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = network.forward_head(network.forward_features(images), pre_logits=True)
        torch.testing.assert_close(load(tmp_path / "w.pth", arch="resnet10t")(images), features)


# One of each kind of classifier that timm has: a layer before it, a normalisation, two of them, a convolution.
@pytest.mark.parametrize(
    "arch", ["levit_128s", "mobilenetv3_small_050", "convnext_atto", "deit_tiny_distilled_patch16_224", "resnetv2_50"]
)
def test_a_whole_checkpoint_of_timms_loads_and_a_new_classifier_starts_at_zero(arch: str, tmp_path: Path) -> None:
    torch.save(timm.create_model(arch, num_classes=7).state_dict(), tmp_path / "w.pth")
    network = load(tmp_path / "w.pth", "&classes=7", arch)
    architecture = names.card(f"file:{tmp_path / 'w.pth'}?arch={arch}").architecture
    new = networks.with_classifier(network, architecture, 3).train()
    images = torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    logits = new(images)
    logits = logits if isinstance(logits, torch.Tensor) else sum(logits)
    assert not logits.any()
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    shapes = networks.head_of(architecture).shapes
    matrices = [new.get_parameter(name) for name, shape in shapes.items() if None in shape and len(shape) > 1]
    assert matrices
    assert all(matrix.grad is not None and matrix.grad.any() for matrix in matrices), "it would never learn"


def test_an_encoder_of_timms_without_a_classifier_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="mobilenetv5_300m_enc has no reset_classifier"):
        networks.head_of(Architecture(timm="mobilenetv5_300m_enc"))


def test_weights_of_ones_own_can_be_called_something(tmp_path: Path) -> None:
    save_file(nano_state(), tmp_path / "w.safetensors")
    spec = f"file:{tmp_path / 'w.safetensors'}?arch=mixer_nano"
    assert names.card(f"{spec}&name=ours").name == "ours"
    assert weights.identity(names.card(f"{spec}&name=ours")) == weights.identity(names.card(spec))
    for taken in ("mixer_nano", "a b", "../x", "x" * 61):
        with pytest.raises(UsageError, match="that no model has"):
            names.card(f"{spec}&name={taken}")


def test_of_weights_of_a_known_pre_training_it_is_known_what_they_saw(tmp_path: Path) -> None:
    save_file(nano_state(), tmp_path / "w.safetensors")
    spec = f"file:{tmp_path / 'w.safetensors'}?arch=mixer_nano"
    card = names.card(f"{spec}&recipe=in1k_lite")
    of_zoo = names.card("efficientnet_lite0_in1k")
    assert (card.recipe, card.pretrain, card.in_domain) == (of_zoo.recipe, of_zoo.pretrain, of_zoo.in_domain)
    assert weights.identity(card) == weights.identity(names.card(spec)), "what is known of weights does not change them"
    with pytest.raises(UsageError, match="did you mean in1k_lite"):
        names.card(f"{spec}&recipe=in1k_light")


def noise() -> State:
    return {name: torch.randn_like(tensor) for name, tensor in nano_state().items()}


SEVERAL = {
    "timm": lambda plain, ema: {"state_dict": plain, "state_dict_ema": ema, "epoch": 9},
    "DeiT": lambda plain, ema: {"model_ema": ema, "model": plain, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
    "of any name, distributed": lambda plain, ema: {
        "state_dict": plain,
        "best": {f"module.{k}": v for k, v in ema.items()},
    },
    "no usual name": lambda plain, ema: {"student": plain, "teacher": ema},
    "deeper": lambda plain, ema: {"model": plain, "callbacks": {"EMA": {"decay": 0.9, "weights": ema}}},
    "torch's own average": lambda plain, ema: {
        "model": plain,
        "swa": {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in ema.items()}},
    },
    "a part of a table": lambda plain, ema: {
        "state_dict": {**{f"net.{k}": v for k, v in plain.items()}, **{f"ema.{k}": v for k, v in ema.items()}}
    },
    "by its word, deeper": lambda plain, ema: {"model": plain, "ema": {"decay": 0.9, "shadow": ema}},
    "all in one table": lambda plain, ema: {
        **{f"net.{k}": v for k, v in plain.items()},
        **{f"ema.{k}": v for k, v in ema.items()},
    },
}
OF_AVERAGE = dict(
    zip(
        SEVERAL,
        (
            *("state_dict_ema", "model_ema", "best", "teacher", "callbacks.EMA.weights"),
            *("swa", "state_dict.ema", "ema.shadow", "ema"),
        ),
        strict=True,
    )
)


@pytest.mark.parametrize("layout", SEVERAL)
def test_of_several_sets_of_weights_one_must_be_named(layout: str, tmp_path: Path) -> None:
    plain, ema, file = noise(), nano_state(), tmp_path / "w.pth"
    torch.save(SEVERAL[layout](plain, ema), file)
    with pytest.raises(WeightsError, match=rf"belong to no part|several sets of weights.*&key={OF_AVERAGE[layout]}$"):
        load(file)
    card = names.card(f"file:{file}?arch=mixer_nano&key={OF_AVERAGE[layout]}")
    assert_equal(with_its_classifier(card).state_dict(), ema)
    assert card.name == f"file:w.pth?arch=mixer_nano&key={OF_AVERAGE[layout]}"
    assert card.source == f"file:w.pth?key={OF_AVERAGE[layout]}"
    with pytest.raises(WeightsError, match="no table of tensors under 'best_one'; tables there are: "):
        load(file, "&key=best_one")


def test_averages_without_names_are_no_weights_but_are_not_passed_over(tmp_path: Path) -> None:
    content = {"model": nano_state(), "ema": {"decay": 0.999, "shadow_params": list(noise().values())}}
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="several sets of weights, under model, ema"):
        load(tmp_path / "w.pth")
    plain = names.card(f"file:{tmp_path / 'w.pth'}?arch=mixer_nano&key=model")
    assert_equal(with_its_classifier(plain).state_dict(), nano_state())
    torch.save({"model": nano_state(), "ema": None, "ema_decay": 0.99}, tmp_path / "w.pth")
    assert_equal(
        with_its_classifier(names.card(f"file:{tmp_path / 'w.pth'}?arch=mixer_nano")).state_dict(), nano_state()
    )


def test_which_weights_of_a_file_are_meant_is_identity(tmp_path: Path) -> None:
    torch.save({"state_dict": noise(), "state_dict_ema": nano_state()}, tmp_path / "w.pth")
    spec = f"file:{tmp_path / 'w.pth'}?arch=mixer_nano"
    keys = ("", "&key=state_dict", "&key=state_dict_ema")
    assert len({weights.identity(names.card(spec + key)) for key in keys}) == len(keys)


def renamed(state: State) -> State:
    return {f"_net.{number}.{name.rpartition('.')[2]}": tensor for number, (name, tensor) in enumerate(state.items())}


def test_tensors_of_other_names_are_taken_in_order_and_it_is_said(tmp_path: Path) -> None:
    save_file(renamed(nano_state()), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="are missing"):  # that format sorts by name: order says nothing
        load(tmp_path / "w.safetensors")
    torch.save(renamed(nano_state()), tmp_path / "w.pth")
    notes: list[str] = []
    network = with_its_classifier(names.card(f"file:{tmp_path / 'w.pth'}?arch=mixer_nano"), notes.append)
    assert len(notes) == 1
    assert f"the file's {len(nano_state())} tensors have other names and were taken in their order" in notes[0]
    assert_equal(network.state_dict(), nano_state())


@pytest.mark.parametrize(
    "change",
    [
        lambda items: items[1:],
        lambda items: [items[1], items[0], *items[2:]],
        lambda items: [*items[:-1], ("_net.x.running_mean", items[-1][1])],
        lambda items: [(name.replace("_net.3.", "_net.99."), tensor) for name, tensor in items],
    ],
    ids=["one less", "another order", "another kind of name", "numbers out of order"],
)
def test_other_names_in_another_order_are_refused(change: Callable[[list], list], tmp_path: Path) -> None:
    torch.save(dict(change(list(renamed(nano_state()).items()))), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="are missing"):
        load(tmp_path / "w.pth")
