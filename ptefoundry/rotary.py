"""Row order of rotary projections.

transformers rotates row i of a head with row i + head_dim/2 ("half"); Meta's
checkpoints, GGUF files of Llama and our canonical form rotate rows 2i and 2i+1
("interleaved"). The permutation is the one of transformers'
`convert_llama_weights_to_hf.py`, inverted. It applies to q and k weights, to
their biases, to per-head norms and to an adapter's `lora_B`; never to `lora_A`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def half_to_interleaved(rows: "torch.Tensor", heads: int) -> "torch.Tensor":
    """Reorder the rows of [heads*head_dim, ...] from half to interleaved order."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(rows.shape)


def interleaved_to_half(rows: "torch.Tensor", heads: int) -> "torch.Tensor":
    """Reorder the rows of [heads*head_dim, ...] from interleaved to half order."""
    return rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).reshape(rows.shape)
