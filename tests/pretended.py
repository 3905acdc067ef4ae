"""A GPU that is not there: its tensors have shapes and no values, and whatever would wait for it is written down."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

GPU = torch.device("cuda:0")


class Pretended(TorchDispatchMode):
    """What is on "cuda" is computed by shapes alone, what is on the CPU as ever."""

    def __init__(self, fake: FakeTensorMode) -> None:
        super().__init__()
        self.fake = fake
        self.waits: list[str] = []  # operations for which the host would wait until the GPU is done
        self.crossings = 0  # copies from the one to the other that are not waited for
        self.pinned: list[Tensor] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        named = dict(kwargs or {})
        by_name = {
            argument.name: value for argument, value in zip(function._schema.arguments, args, strict=False)
        } | named
        tensors = [leaf for leaf in pytree.tree_leaves((args, named)) if isinstance(leaf, Tensor)]
        device = torch.device(by_name.get("device") or "cpu")
        if device.type != "cuda" and not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            with _disable_current_modes():
                pinned = bool(named.pop("pin_memory", False))
                result = function(*args, **named)
            if pinned:
                self.pinned.append(result)
            return result
        self._note(function.overloadpacket.__name__, by_name)
        if "_fused_" in str(function):  # has no rule for shapes: it changes its arguments
            return None
        with self.fake:
            args, named = pytree.tree_map_only(Tensor, self._there, (args, named))
            return function(*args, **named)

    def _there(self, tensor: Tensor) -> Tensor:
        return tensor if isinstance(tensor, FakeTensor) else self.fake.from_tensor(tensor)

    def _note(self, name: str, arguments: dict[str, Any]) -> None:
        indices = pytree.tree_leaves(arguments.get("indices"))
        masked = any(isinstance(index, Tensor) and index.dtype == torch.bool for index in indices)
        if masked or name in ("_local_scalar_dense", "nonzero", "masked_select", "equal"):
            self.waits.append(name)
        asynchronous = bool(arguments.get("non_blocking"))
        if name in ("to", "_to_copy") and arguments.get("device") is not None:
            self._note_copy(arguments["self"], arguments["self"], torch.device(arguments["device"]), asynchronous)
        elif name == "copy_":
            target, source = arguments["self"], arguments["src"]
            host = target if source.device.type == "cuda" else source
            self._note_copy(source, host, target.device, asynchronous)

    def _note_copy(self, source: Tensor, host: Tensor, target: torch.device, asynchronous: bool) -> None:
        """A copy from device to device is waited for, unless it was asked not to and the host's side is pinned."""
        if source.device.type == target.type:
            return
        if asynchronous and host.is_pinned():
            self.crossings += 1
        else:
            self.waits.append(f"{source.device.type} to {target.type}")


class Stream:
    """A stream or an event of work."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.entered = 0

    def __enter__(self) -> None:
        self.entered += 1

    def __exit__(self, *_: Any) -> None:
        pass

    def wait_stream(self, _other: "Stream") -> None: ...

    def record(self, _stream: "Stream") -> None: ...

    def synchronize(self) -> None: ...

    def elapsed_time(self, _end: "Stream") -> float:
        return 20.0


@contextlib.contextmanager
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretended]:
    """Pretend that there is one; backward passes give gradients without being computed."""
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    mode = Pretended(fake)

    def pin(tensor: Tensor) -> Tensor:
        copy = tensor.clone()
        mode.pinned.append(copy)
        return copy

    def is_pinned(tensor: Tensor) -> bool:
        return tensor.data_ptr() in [pinned.data_ptr() for pinned in mode.pinned]

    with monkeypatch.context() as patched, fake, mode:
        patched.setattr(Tensor, "pin_memory", pin)
        patched.setattr(Tensor, "is_pinned", is_pinned)
        patched.setattr(Tensor, "record_stream", lambda *_: None)
        patched.setattr(torch.cuda, "Stream", Stream)
        patched.setattr(torch.cuda, "Event", Stream)
        patched.setattr(torch.cuda, "stream", lambda stream: stream)
        patched.setattr(torch.cuda, "current_stream", Stream)
        yield mode


def backward(network: nn.Module) -> None:
    """Give every weight a gradient: torch's engine refuses to go back on a GPU that is not there."""
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
