"""Embedding tables and linears whose weights are stored in half precision (fp16).

Only what is stored is halved: each weight is a fp32 number again before anything is
computed, so activations, sums and logits are as in fp32. XNNPACK does the same as it
packs such weights. A bfloat16 value of 2^-17 to 65504 is kept exactly, smaller ones to
2^-25, which is less than the rounding of a sum with any of usual size.
"""

import torch
from torch import nn
from torch.nn import functional

from ptefoundry.errors import CheckpointError
from ptefoundry.schemes import describe_overflow


class HalfLinear(nn.Module):
    """Linear over a weight fp16 [out, in]; `bias` is fp32 [out] or None."""

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.bias = bias
        self._held: torch.Tensor | None = None

    def hold(self) -> None:
        """Keep the weight as fp32 too."""
        self._held = self.weight.float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x fp32 [S, in] to [S, out]."""
        weight = self.weight.float() if self._held is None else self._held
        return functional.linear(x, weight, self.bias)


class HalfEmbedding(nn.Module):
    """Rows of a table fp16 [vocab, dim], as fp32."""

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Rows [S, dim] of tokens, int64 [S]."""
        return functional.embedding(tokens, self.weight).float()


def halved(weight: torch.Tensor, name: str) -> torch.Tensor:
    """A fp32 weight as fp16, rounded to nearest even.

    Raises:
        CheckpointError: a value is larger than fp16 has; `name` says of which tensor.
    """
    half = weight.detach().half()
    if not half.isfinite().all():
        raise CheckpointError(describe_overflow(name, float(weight.abs().max())))
    return half
