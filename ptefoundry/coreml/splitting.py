"""Cutting large linears into pieces, which the Neural Engine computes faster.

A linear of many rows becomes several of equal size whose outputs are joined; numbers stay
the same. Matrices of adapters are thin and stay whole.
"""

import torch
from torch import nn


class SplitLinear(nn.Module):
    """Linears beside each other, in place of one with all their rows."""

    def __init__(self, linear: nn.Linear, pieces: int) -> None:
        super().__init__()
        rows = linear.out_features // pieces
        assert rows * pieces == linear.out_features
        self.pieces = nn.ModuleList(_piece(linear, i * rows, rows) for i in range(pieces))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [..., in] to [..., out]."""
        return torch.cat([piece(x) for piece in self.pieces], dim=-1)


def split_linears(model: nn.Module, split_size: int, max_splits: int) -> None:
    """Cut a model's linears in place; the pieces share memory with what they are cut from."""
    linears = [(path, one) for path, one in model.named_modules() if isinstance(one, nn.Linear)]
    for path, linear in linears:
        pieces = count_pieces(linear.out_features, split_size, max_splits)
        if pieces > 1:
            model.set_submodule(path, SplitLinear(linear, pieces))


def count_pieces(rows: int, split_size: int, max_splits: int) -> int:
    """The most equal pieces of at least `split_size` rows, at most `max_splits`."""
    most = min(max(rows // split_size, 1), max_splits)
    return next(count for count in range(most, 0, -1) if rows % count == 0)


def _piece(linear: nn.Linear, start: int, rows: int) -> nn.Linear:
    with torch.device("meta"):
        piece = nn.Linear(linear.in_features, rows, bias=linear.bias is not None)
    piece.weight = _part(linear.weight, start, rows)
    if linear.bias is not None:
        piece.bias = _part(linear.bias, start, rows)
    return piece


def _part(tensor: torch.Tensor, start: int, rows: int) -> nn.Parameter:
    return nn.Parameter(tensor[start : start + rows], requires_grad=False)
