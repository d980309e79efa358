"""Quantizing the base's weights, once for all adapters.

Symmetric integer weights without quantized activations, as torchao has them; CoreML stores
the integers and their scales. Adapters are put beside the linears afterwards.
"""

from typing import TYPE_CHECKING

from ptefoundry.coreml.params import BLOCK, CoremlParams
from ptefoundry.errors import ConfigError

if TYPE_CHECKING:
    import torch

_SECTION = "params.yaml: backends.coreml"


def quantize_base(model: "torch.nn.Module", params: CoremlParams) -> None:
    """Quantize what the options ask for, in place.

    Raises:
        ConfigError: groups do not divide the rows of a tensor.
    """
    import torch
    from torchao.quantization.granularity import PerAxis, PerGroup

    if (scheme := params.embedding_scheme) is not None:
        width = model.tok_embeddings.embedding_dim
        if scheme.group and width % scheme.group:
            raise ConfigError(
                f"{_SECTION}.embedding: expected groups that divide the base's {width} values of "
                f"a row, found {scheme.group}"
            )
        granularity = PerGroup(scheme.group) if scheme.group else PerAxis(0)
        _quantize(model, torch.nn.Embedding, scheme.bits, granularity)
    if params.linear != "none":
        _check_blocks(model, params)
        granularity = PerGroup(BLOCK) if params.linear == "b4w" else PerAxis(0)
        _quantize(model, torch.nn.Linear, 4, granularity)


def _quantize(
    model: "torch.nn.Module", kind: type["torch.nn.Module"], bits: int, granularity: object
) -> None:
    import torch
    from torchao.quantization.quant_api import IntxWeightOnlyConfig, quantize_

    dtype = {4: torch.int4, 8: torch.int8}[bits]
    config = IntxWeightOnlyConfig(weight_dtype=dtype, granularity=granularity)
    quantize_(model, config, lambda module, _path: isinstance(module, kind))


def _check_blocks(model: "torch.nn.Module", params: CoremlParams) -> None:
    """Torchao would leave a linear that does not divide as it is, and say nothing."""
    import torch

    if params.linear != "b4w":
        return
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module.in_features % BLOCK:
            raise ConfigError(
                f"{_SECTION}.linear: b4w: expected rows of a multiple of {BLOCK} values, found "
                f"{module.in_features} in {path}; write c4w or none"
            )
