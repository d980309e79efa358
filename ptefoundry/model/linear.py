"""Linears of integer weights and 8-bit activations, as XNNPACK computes them (8da4w, 8da8w).

Weights are torchao's symmetric affine ones: per group of a row, the scale is the
largest magnitude over (2^bits - 1) / 2, and values are rounded to the nearest
multiple of it. XNNPACK keeps scales of groups, which 4-bit weights have, in
bfloat16; rounding them before the values makes the values fit the scales that are
multiplied with. (As for the embedding table not HQQ, whose sums depend on the CPU.)
8-bit weights have one fp32 scale a row, so that an embedding table of `8,0` and a
tied head of `8da8w,0` are the same bytes, stored once.

Activations are quantized while running, each token with its own scale and zero
point, by PyTorch's decomposed operators, which follow XNNPACK's formula.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers the ops
from torch.nn import functional

from ptefoundry.errors import ConfigError
from ptefoundry.model.half import HalfLinear, halved
from ptefoundry.schemes import GROUP_MULTIPLE, HalfScheme, LinearScheme, Schemes

if TYPE_CHECKING:
    from ptefoundry.model.transformer import Transformer

HEAD = "output"
"""Path of the output head."""


class QuantizedLinear(nn.Module):
    """Linear over integers.

    `weight` is int8 [out, in], of -8 to 7 where it has 4 bits. `scales` is fp32: for
    4 bits [out, in / group] with values that bfloat16 has, for 8 bits [out]. `bias` is
    fp32 [out] or None.
    """

    weight: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor

    def __init__(
        self,
        scheme: LinearScheme,
        weight: torch.Tensor,
        scales: torch.Tensor,
        bias: nn.Parameter | None,
    ) -> None:
        super().__init__()
        self.scheme = scheme
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("scales", scales, persistent=False)
        # The delegate looks for zero points, sees that there are none, and drops them.
        zeros = torch.zeros(scales.shape, dtype=torch.int8, device=scales.device)
        self.register_buffer("zeros", zeros, persistent=False)
        self.bias = bias
        self._held: torch.Tensor | None = None

    def hold(self) -> None:
        """Keep the weight as fp32 too."""
        self._held = self._dequantize()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [S, in] to [S, out]."""
        ops = torch.ops.quantized_decomposed
        scale, zero = ops.choose_qparams_per_token_asymmetric(x, torch.int8)
        x = ops.quantize_per_token(x, scale, zero, -128, 127, torch.int8)
        x = ops.dequantize_per_token(x, scale, zero, -128, 127, torch.int8, torch.float32)
        weight = self._dequantize() if self._held is None else self._held
        return functional.linear(x, weight, self.bias)

    def _dequantize(self) -> torch.Tensor:
        """fp32 [out, in]."""
        ops, group = torch.ops.quantized_decomposed, self.scheme.group
        values, scales, zeros = self.weight, self.scales, self.zeros
        weight: torch.Tensor
        if self.scheme.bits == 4:
            weight = ops.dequantize_per_channel_group(
                values, scales, zeros, -8, 7, torch.int8, group, torch.float32
            )
        else:
            weight = ops.dequantize_per_channel(values, scales, zeros, 0, -128, 127, torch.int8)
        return weight


def linear_schemes(model: "Transformer", schemes: Schemes) -> dict[str, LinearScheme | HalfScheme]:
    """Scheme by path of each linear that is to be quantized, or stored in halves.

    Raises:
        ConfigError: groups do not divide the in-features of all of them.
    """
    chosen = {
        path: scheme
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and (scheme := schemes.head if path == HEAD else schemes.linear)
    }
    grouped = {path: one for path, one in chosen.items() if isinstance(one, LinearScheme)}
    widths = {path: int(model.get_submodule(path).in_features) for path in grouped}
    for field, paths in (
        ("linear", [path for path in grouped if path != HEAD]),
        ("head", [path for path in grouped if path == HEAD]),
    ):
        wrong = [path for path in paths if widths[path] % (grouped[path].group or 1)]
        if wrong:
            raise ConfigError(
                f"params.yaml: backends.xnnpack.{field}: expected groups that divide the "
                f"in-features of every linear, found {grouped[wrong[0]]}, which does not for "
                f"{_describe(wrong, widths)}; "
                f"{_advice({widths[path] for path in paths})}"
            )
    return chosen


def quantize_linears(model: "Transformer", schemes: Schemes) -> None:
    """Replace linears of a model by quantized ones or such of halves, in place.

    Raises:
        ConfigError: groups do not divide the in-features of all of them.
        CheckpointError: a weight is too large for halves.
    """
    for path, scheme in linear_schemes(model, schemes).items():
        linear = model.get_submodule(path)
        weight = linear.weight.detach()
        if isinstance(scheme, HalfScheme):
            replacement: nn.Module = HalfLinear(halved(weight, f"{path}.weight"), linear.bias)
        else:
            replacement = QuantizedLinear(scheme, *quantize_weight(weight, scheme), linear.bias)
        model.set_submodule(path, replacement)


def hold_weights(model: nn.Module) -> None:
    """Make fp32 weights of linears once, which is most of the time of an eager call."""
    for module in model.modules():
        if isinstance(module, QuantizedLinear | HalfLinear):
            module.hold()


def quantize_weight(
    weight: torch.Tensor, scheme: LinearScheme
) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers and scales of a weight fp32 [out, in], as `QuantizedLinear` has them."""
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerGroup

    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    config = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4 if scheme.bits == 4 else torch.int8,
        weight_granularity=PerGroup(scheme.group or weight.shape[1]),
        weight_scale_dtype=torch.bfloat16 if scheme.bits == 4 else None,
        intx_choose_qparams_algorithm="affine",
    )
    quantize_(linear, config, lambda module, _name: module is linear)
    scales = linear.weight.scale.float()
    return linear.weight.qdata, scales if scheme.bits == 4 else scales.squeeze(1)


def pack_weight(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Integers as the delegate stores them: int8 [out, in], for 4 bits uint8 [out, in / 2]."""
    if bits == 8:
        return values
    from executorch.backends.xnnpack.operators.node_visitor import NodeVisitor

    packed: torch.Tensor = NodeVisitor.convert_to_qc4w(values)
    return packed


def pack_scales(scales: torch.Tensor, bits: int) -> torch.Tensor:
    """Scales as the delegate stores them: fp32, or for 4 bits bfloat16, viewed as int16."""
    if bits == 8:
        return scales
    return scales.to(torch.bfloat16).view(torch.int16)


def _describe(paths: list[str], widths: Mapping[str, int]) -> str:
    kinds = dict.fromkeys((path.partition(".")[2].partition(".")[2] or path) for path in paths)
    first = ", ".join(list(kinds)[:3]) + (", ..." if len(kinds) > 3 else "")
    found = sorted({widths[path] for path in paths})
    return f"{first} (in-features {', '.join(map(str, found))}; {len(paths)} in all)"


def _advice(widths: set[int]) -> str:
    common = math.gcd(*widths)
    groups = [
        group for group in range(GROUP_MULTIPLE, common + 1, GROUP_MULTIPLE) if common % group == 0
    ]
    if not groups:
        return f"XNNPACK needs a multiple of {GROUP_MULTIPLE}, and none divides them: write none"
    return f"take {' or '.join(str(group) for group in groups[:4])}"
