"""Embedding tables of 4- or 8-bit integers, with ExecuTorch's operators.

The numbers are torchao's symmetric affine ones: per group of a row, the scale is
the largest magnitude over (2^bits - 1) / 2, and values are rounded to the nearest
integer. torchao's other algorithm (HQQ) sums in an order that depends on the CPU,
and two machines must get the same bytes.
"""

from typing import TYPE_CHECKING

import torch
from executorch.exir.passes import _quant_patterns_and_replacements  # noqa: F401  registers the ops
from torch import nn

from ptefoundry.errors import ConfigError
from ptefoundry.schemes import EmbeddingScheme

if TYPE_CHECKING:
    from ptefoundry.model.transformer import Transformer


class QuantizedEmbedding(nn.Module):
    """Rows of an integer table, as fp32.

    `weight` is int8 [vocab, dim], or for 4 bits uint8 [vocab, dim / 2] with the
    even column in the upper half and 8 added; `scales` is fp32 [vocab], or
    [vocab, groups] where a row has several.
    """

    weight: torch.Tensor
    scales: torch.Tensor

    def __init__(self, bits: int, values: torch.Tensor, scales: torch.Tensor) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("weight", _pack(values) if bits == 4 else values)
        self.register_buffer("scales", scales.squeeze(-1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Rows [S, dim] of tokens, int64 [S]."""
        ops = torch.ops.quantized_decomposed
        rows: torch.Tensor
        if self.bits == 4:
            rows = ops.embedding_4bit(self.weight, self.scales, None, -8, 7, tokens)
        else:
            rows = ops.embedding_byte(self.weight, self.scales, None, -128, 127, tokens)
        return rows


def quantize_embedding(model: "Transformer", scheme: EmbeddingScheme) -> None:
    """Replace a model's embedding table by a quantized one, in place; a tied head stays fp32.

    Raises:
        ConfigError: the rows cannot be divided into such groups.
    """
    table = model.tok_embeddings.weight.detach()
    columns = table.shape[1]
    group = scheme.group or columns
    if columns % group or (scheme.bits == 4 and columns % 2):
        raise ConfigError(
            f"params.yaml: backends.xnnpack.embedding: expected groups that divide the base's "
            f"{columns} columns, found {scheme.bits},{scheme.group}; take a divisor, or 0 for "
            "one group a row"
        )
    values, scales = quantize_rows(table, scheme.bits, group)
    model.set_submodule("tok_embeddings", QuantizedEmbedding(scheme.bits, values, scales))


def quantize_rows(table: torch.Tensor, bits: int, group: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Integers int8 [rows, dim] and scales fp32 [rows, groups] of fp32 rows [rows, dim]."""
    from torchao.quantization import IntxWeightOnlyConfig, quantize_
    from torchao.quantization.granularity import PerGroup

    embedding = nn.Embedding.from_pretrained(table)
    config = IntxWeightOnlyConfig(
        weight_dtype=torch.int4 if bits == 4 else torch.int8,
        granularity=PerGroup(group),
        intx_choose_qparams_algorithm="affine",
    )
    quantize_(embedding, config, lambda module, _name: module is embedding)
    return embedding.weight.qdata, embedding.weight.scale


def _pack(values: torch.Tensor) -> torch.Tensor:
    """Two 4-bit integers a byte, as `embedding_4bit` reads them."""
    shifted = (values + 8).view(torch.uint8)
    return shifted[:, 0::2] * 16 + shifted[:, 1::2]
