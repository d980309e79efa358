"""Linears with a LoRA adapter beside them."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from ptefoundry.model.transformer import Transformer


class LoraLinear(nn.Module):
    """linear(x) + lora_b(lora_a(x)), arXiv:2106.09685; the scale is inside lora_b.

    The linear may be a quantized one, the matrices are fp32.

    `lora_a` has the weight [rank, in], `lora_b` [out, rank].
    """

    def __init__(self, linear: nn.Module, lora_a: torch.Tensor, lora_b: torch.Tensor) -> None:
        super().__init__()
        self.linear = linear
        self.lora_a = _linear_of(lora_a)
        self.lora_b = _linear_of(lora_b)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [..., in] to [..., out]."""
        output: torch.Tensor = self.linear(x) + self.lora_b(self.lora_a(x))
        return output


def add_adapter(
    model: "Transformer", modules: Iterable[str], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Put matrices beside linears, in place.

    Args:
        model: where to.
        modules: canonical paths of the linears.
        tensors: fp32 `<path>.lora_a` [rank, in] and `<path>.lora_b` [out, rank] of each.
    """
    for path in modules:
        linear = model.get_submodule(path)
        wrapped = LoraLinear(linear, tensors[f"{path}.lora_a"], tensors[f"{path}.lora_b"])
        model.set_submodule(path, wrapped)


def _linear_of(weight: torch.Tensor) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear
