"""RMS norms whose numbers stay small enough for fp16.

A norm needs the mean of squares. Residuals of real models reach tens of thousands, whose squares
are beyond fp16's 65,504, and the step to fp32 in which models compute them is lost when Core ML's
program is made of fp16. So what is squared is scaled to 1 first, by its largest number:

    m = max(|x|, 2^-7),  y = x / m,  e = sqrt(eps) / m,  norm(x) = y / sqrt(mean(y^2) + e^2)

which is the norm, m being a factor of both sides of the fraction.
"""

import torch
from torch import nn

_SMALLEST = 2.0**-7
"""Least that is divided by, so that the scaled epsilon stays within fp16, too."""


class ScaledRMSNorm(nn.Module):
    """An RMS norm over the last dimension that computes in the type of its input."""

    def __init__(self, weight: nn.Parameter, eps: float) -> None:
        """Take over what a norm learned.

        Args:
            weight: [dim], multiplies the normalized values.
            eps: is added to the mean of squares.
        """
        super().__init__()
        self.weight, self.eps = weight, eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize x [..., dim]."""
        # Tensors, as numbers would be fp32 in the converted program.
        smallest, epsilon = (
            torch.tensor(number, dtype=x.dtype) for number in (_SMALLEST, self.eps**0.5)
        )
        largest = torch.maximum(x.abs().amax(-1, keepdim=True), smallest)
        scaled, epsilon = x / largest, epsilon / largest
        mean = (scaled * scaled).mean(-1, keepdim=True)
        return scaled * torch.rsqrt(mean + epsilon * epsilon) * self.weight


def scale_norms(model: nn.Module) -> None:
    """Replace all RMS norms of a model in place; names of parameters stay."""
    from executorch.examples.models.llama.norm import RMSNorm

    for path, module in list(model.named_modules()):
        if isinstance(module, RMSNorm | nn.RMSNorm):
            assert module.eps is not None
            assert not getattr(module, "add_unit_offset", False)
            model.set_submodule(path, ScaledRMSNorm(module.weight, module.eps))
