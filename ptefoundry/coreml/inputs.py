"""What a method of the static model is called with, and where in its inputs each thing is.

A method takes token ids int32 [1, S] and ExecuTorch's attention options: a mask
[1, S, cache + S] that is added to the scores, cosines and sines [S, head_dim / 2], key and
value caches [1, kv_heads, cache, head_dim] of each layer, and with logits of one token the
int64 [1] index of that token. It returns logits, [1, vocab] or [1, S, vocab], and the new keys
and values [1, kv_heads, S, head_dim] of each layer, which the caller puts into the caches.

Exported, all of it is one flat list. Which number each thing has is read from the exported
program and becomes metadata; nothing is assumed of the order, and layers are paired by
their cache's name, so that there can be any number of them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptefoundry.base.config import ModelConfig
from ptefoundry.coreml.methods import Role
from ptefoundry.coreml.params import CoremlParams

if TYPE_CHECKING:
    import torch
    from torch.utils._pytree import TreeSpec

NO_INPUT = -1
"""Number of an input that a method does not have."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Numbers of inputs and outputs of a method; output 0 has the logits."""

    tokens: int
    mask: int
    cosines: int
    sines: int
    last_token: int
    """`NO_INPUT` where all logits are returned."""
    caches: tuple[tuple[int, int, int, int], ...]
    """For each layer: keys in, keys out, values in, values out."""


def input_length(params: CoremlParams, role: Role) -> int:
    """Tokens that a method of the role reads."""
    return 1 if params.multifunction and role == "forward" else params.input_length


def example_inputs(
    config: ModelConfig, params: CoremlParams, length: int, dtype: "torch.dtype"
) -> tuple["torch.Tensor", dict[str, Any]]:
    """Arguments of a call that reads `length` tokens, for tracing."""
    import torch

    cache = params.cache_length
    shape = (1, config.n_kv_heads, cache, config.head_dim)
    keys, values = (
        {_cache_id(layer): torch.zeros(shape, dtype=dtype) for layer in range(config.n_layers)}
        for _ in range(2)
    )
    options: dict[str, Any] = {
        "masks": {cache: torch.zeros(1, length, cache + length, dtype=dtype)},
        "freqs_cos_override": torch.zeros(length, config.head_dim // 2, dtype=dtype),
        "freqs_sin_override": torch.zeros(length, config.head_dim // 2, dtype=dtype),
        "in_cache_state": (keys, values),
    }
    if params.multifunction:
        options["last_valid_token_pos"] = torch.zeros(1, dtype=torch.int64)
    return torch.zeros(1, length, dtype=torch.int32), options


def read_layout(inputs: "TreeSpec", outputs: "TreeSpec") -> Layout:
    """Where everything is in the inputs and outputs of a method.

    Args:
        inputs: structure of its arguments and keyword arguments, as torch.export has it.
        outputs: structure of what it returns.
    """
    from torch.utils import _pytree as pytree

    (tokens, options), _ = pytree.tree_unflatten(range(inputs.num_leaves), inputs)
    logits, updates = pytree.tree_unflatten(range(outputs.num_leaves), outputs)
    assert logits == 0
    keys_in, values_in = options["in_cache_state"]
    keys_out, values_out = updates["out_cache_state"]
    (mask,) = options["masks"].values()
    return Layout(
        tokens=tokens,
        mask=mask,
        cosines=options["freqs_cos_override"],
        sines=options["freqs_sin_override"],
        last_token=options.get("last_valid_token_pos", NO_INPUT),
        caches=tuple(
            (keys_in[one], keys_out[one], values_in[one], values_out[one])
            for one in map(_cache_id, range(len(keys_in)))
        ),
    )


def _cache_id(layer: int) -> str:
    from executorch.examples.models.llama.static_attention import StaticKVCache

    identifier: str = StaticKVCache.calculate_cache_key(layer, 0)
    return identifier
