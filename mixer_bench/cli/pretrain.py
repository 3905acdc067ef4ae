"""The verb pretrain."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mixer_bench.api import pretraining
from mixer_bench.cli.options import read, takes
from mixer_bench.system.progress import ProgressLog


@takes(pretraining.Options)
def pretrain(
    *, model: Annotated[str, typer.Argument(help="A model of the zoo with an architecture.")], **flags: Any
) -> None:
    """Train a backbone from scratch with MLP-Mixer's recipe; killed, the same command goes on."""
    weights = pretraining.pretrained(model, read(pretraining.Options, flags), ProgressLog)
    print(f"weights and record: {weights}")
