"""A checkpoint's weights at another input resolution than they were trained at.

MLP-Mixer (section 3 and appendix C) gives a Mixer of K times the resolution token-mixing MLPs that are block diagonal
at first: K^2 copies of the old one, each for one of the K x K parts of the image, which then do not interact until
training makes them. The paper takes the token sequence for a concatenation of the parts; tokens of an image come row
by row, so the blocks are permuted. A ViT has its position embedding resized (ViT, section 3.2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mixer_bench.errors import WeightsError

TOKEN_MIXING = re.compile(r"blocks\.\d+\.mlp_tokens\.(fc1|fc2)\.(weight|bias)")
POSITIONS = "pos_embed"


def enlarged(
    state: Mapping[str, Tensor],
    shapes: Mapping[str, torch.Size],
    grids: tuple[int, int],
    resize_positions: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Return ``state`` for a network whose tensors have ``shapes``.

    Args:
        state: the weights at their own resolution.
        shapes: of the larger network's tensors, by name.
        grids: patches a side, at the own and at the new resolution.
        resize_positions: a ViT's position embedding [1, tokens, D] to one for the new grid.

    Raises:
        WeightsError: a tensor of another kind depends on the resolution.
    """
    larger = {}
    for name, tensor in state.items():
        if tensor.shape == shapes[name]:
            larger[name] = tensor
        elif match := TOKEN_MIXING.fullmatch(name):
            larger[name] = block_diagonal(tensor, match[1], grids[0], grids[1] // grids[0])
        elif name == POSITIONS:
            larger[name] = resize_positions(tensor)
        else:
            raise WeightsError(f"{name} depends on the resolution in a way that is not known")
    return larger


def block_diagonal(tensor: Tensor, layer: str, grid: int, times: int) -> Tensor:
    """Return a tensor of a token-mixing MLP for ``times`` the resolution: K^2 copies, for the K x K parts of the image.

    With P the permutation from row-by-row tokens to parts one after another, W1' = (I kron W1) P, b1' = b1 repeated,
    W2' = P^T (I kron W2), b2' = P^T (b2 repeated).

    Args:
        tensor: W1 [D_S, S], b1 [D_S], W2 [S, D_S] or b2 [S], with S = ``grid`` ** 2 tokens.
        layer: "fc1" (W1, b1) or "fc2" (W2, b2).
        grid: patches a side of one part.
        times: K.
    """
    parts = times**2
    order = part_order(grid, times)
    if tensor.ndim == 1:
        repeated = tensor.repeat(parts)
        return repeated if layer == "fc1" else repeated[order]
    blocks: Tensor = torch.block_diag(*[tensor] * parts)
    return blocks[:, order] if layer == "fc1" else blocks[order]


def part_order(grid: int, times: int) -> Tensor:
    """Return for each token of the large image, row by row, its place among the parts one after another, int64 [S']."""
    side = torch.arange(grid * times)
    row, column = side[:, None], side[None, :]
    part = (row // grid) * times + column // grid
    within = (row % grid) * grid + column % grid
    return (part * grid**2 + within).flatten()
