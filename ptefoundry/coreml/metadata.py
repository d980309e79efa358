"""What a program says of itself, as constant methods that return it.

    get_adapters           names of the variants: `base`, then the adapters
    get_forward_methods    for each of them, the method that reads get_forward_input_len tokens
    get_prefill_methods    the same for get_prefill_input_len; only with `multifunction`
    get_max_context_len, get_vocab_size, get_eos_ids
    get_rotary_frequencies    radians per position of each rotated pair, head_dim / 2 numbers
    get_cache_shape        of one cache: 1, kv_heads, tokens, head_dim
    get_dtype              of masks, angles and caches: fp16 or fp32
    get_<role>_inputs      numbers of the inputs tokens, mask, cosines, sines, last token (or -1)
    get_<role>_caches      for each layer the numbers of keys in, keys out, values in, values out

`ptefoundry.coreml.driver` runs a program by these alone.
"""

from collections.abc import Sequence
from typing import Any

from ptefoundry.base.config import ModelConfig
from ptefoundry.coreml.inputs import Layout, input_length
from ptefoundry.coreml.methods import (
    ADAPTERS,
    CACHE_SHAPE,
    CONTEXT,
    DTYPE,
    EOS_IDS,
    FREQUENCIES,
    ROLES,
    VOCABULARY,
    Method,
    Role,
    role_constant,
)
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.model.rope import inverse_frequencies


def describe_program(
    config: ModelConfig,
    params: CoremlParams,
    eos_ids: list[int],
    layouts: Sequence[tuple[Method, Layout]],
) -> dict[str, Any]:
    """The constant methods of a program with these methods, and what they return.

    All methods of a role must have the same layout. Plain values only: constant tensors would
    look like methods that compute something to whoever lists a program's methods.
    """
    shape = [1, config.n_kv_heads, params.cache_length, config.head_dim]
    constants = {
        CONTEXT: params.context_length,
        VOCABULARY: config.vocab_size,
        EOS_IDS: eos_ids,
        CACHE_SHAPE: shape,
        DTYPE: params.dtype,
        FREQUENCIES: inverse_frequencies(config).tolist(),
    }
    for role in ROLES:
        if of_role := [(method, layout) for method, layout in layouts if method.role == role]:
            constants |= _describe_role(role, input_length(params, role), of_role)
    return constants


def _describe_role(
    role: Role, length: int, layouts: Sequence[tuple[Method, Layout]]
) -> dict[str, Any]:
    methods, found = zip(*layouts, strict=True)
    layout: Layout = found[0]
    assert all(other == layout for other in found)
    places = [layout.tokens, layout.mask, layout.cosines, layout.sines, layout.last_token]
    return {
        ADAPTERS: [method.adapter for method in methods],
        role_constant(role, "methods"): [method.name for method in methods],
        role_constant(role, "input_len"): length,
        role_constant(role, "inputs"): places,
        role_constant(role, "caches"): [number for layer in layout.caches for number in layer],
    }
