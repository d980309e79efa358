"""transformers' `config.json` of Llama, Qwen2 and Qwen3 as a `ModelConfig`.

The meaning of a field is what transformers' class of that name does with it: its
own defaults where a field is missing, and refusal where a field switches on
something that the canonical form does not have.
"""

from typing import Any

from ptefoundry.base.config import ModelConfig, RopeScaling
from ptefoundry.base.fields import Fields, unsupported

_MODEL_TYPES = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}

#: Field -> the values besides null that mean what we build, for every architecture.
_ALLOWED: dict[str, tuple[object, ...]] = {
    "hidden_act": ("silu",),
    "mlp_bias": (False,),
    "use_sliding_window": (False,),
    "rope_interleaved": (False,),
    "use_mrope": (False,),
    "quantization_config": (),
    "compression_config": (),
    "auto_map": (),
    "no_rope_layers": (),
    "num_experts": (0,),
    "num_local_experts": (0,),
    "attn_logit_softcapping": (),
    "final_logit_softcapping": (),
    "add_cross_attention": (False,),
}

_DEFAULT_THETA = 10000.0
"""transformers' `PreTrainedConfig.default_theta`."""

_LLAMA3_FIELDS = (
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
)


def parse_config(fields: Fields) -> ModelConfig:
    """Read a `config.json`.

    Raises:
        CheckpointError: a field is missing, malformed or not supported.
    """
    architecture = _architecture(fields)
    _refuse_unsupported(fields, architecture)
    heads = fields.size("num_attention_heads")
    dim = fields.size("hidden_size")
    theta, scaling = _rope(fields)
    return ModelConfig(
        architecture=architecture,
        dim=dim,
        n_layers=fields.size("num_hidden_layers"),
        n_heads=heads,
        n_kv_heads=_kv_heads(fields, architecture, heads),
        head_dim=_head_dim(fields, architecture, dim, heads),
        hidden_dim=fields.size("intermediate_size"),
        vocab_size=fields.size("vocab_size"),
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        rope_theta=theta,
        max_context=fields.size("max_position_embeddings"),
        tied_embeddings=fields.flag("tie_word_embeddings", default=False),
        qkv_bias=architecture == "Qwen2ForCausalLM",
        qk_norm=architecture == "Qwen3ForCausalLM",
        rope_scaling=scaling,
    )


def _architecture(fields: Fields) -> str:
    names = fields.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or names[0] not in _MODEL_TYPES:
        raise fields.refuse("architectures", f"one of {', '.join(_MODEL_TYPES)}")
    architecture: str = names[0]
    fields.require("model_type", _MODEL_TYPES[architecture])
    return architecture


def _refuse_unsupported(fields: Fields, architecture: str) -> None:
    for name, allowed in _ALLOWED.items():
        fields.require(name, *allowed)
    if architecture != "Qwen2ForCausalLM":
        # transformers' Qwen2 does not read this field: q, k and v always have a bias.
        fields.require("attention_bias", False)
    if architecture == "LlamaForCausalLM":
        # Qwen's configurations have a window that use_sliding_window turns off.
        fields.require("sliding_window")
    kinds = fields.get("layer_types", [])
    if not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds):
        raise fields.refuse("layer_types", "'full_attention' in every layer")


def _kv_heads(fields: Fields, architecture: str, heads: int) -> int:
    # Old Llama configurations have no such field; Qwen's default in transformers is
    # a fixed 32, which is no model's, so there it must be said.
    default = heads if architecture == "LlamaForCausalLM" else None
    return fields.size("num_key_value_heads", default)


def _head_dim(fields: Fields, architecture: str, dim: int, heads: int) -> int:
    if architecture == "Qwen3ForCausalLM":
        return fields.size("head_dim")
    if "head_dim" not in fields and dim % heads:
        raise fields.refuse("hidden_size", f"a multiple of num_attention_heads ({heads})")
    return fields.size("head_dim", dim // heads)


def _rope(fields: Fields) -> tuple[float, RopeScaling | None]:
    """Base frequency and scaling.

    transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 one
    `rope_parameters`; it reads either. The type's field was once called `type`.
    """
    legacy, modern = fields.get("rope_scaling"), fields.get("rope_parameters")
    name = "rope_scaling" if legacy else "rope_parameters"
    if legacy and modern and legacy != modern:
        raise fields.refuse("rope_scaling", "the same as rope_parameters, or only one of them")
    parameters = legacy or modern or {}
    if not isinstance(parameters, dict) or any(isinstance(v, dict) for v in parameters.values()):
        raise fields.refuse(name, "one set of parameters for all layers")
    rope = Fields(fields.path, {f"{name}.{key}": value for key, value in parameters.items()})
    kind = rope.get(f"{name}.rope_type", rope.get(f"{name}.type", "default"))
    if kind not in ("default", "llama3"):
        raise unsupported(fields.path, f"{name}.rope_type", kind, "'default' or 'llama3'")
    _refuse_partial_rotary(fields, rope, name)
    known = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
    known |= set(_LLAMA3_FIELDS) if kind == "llama3" else set()
    for key in sorted(set(parameters) - known):
        raise rope.refuse(f"{name}.{key}", f"no such field with rope_type {kind!r}")
    scaling = _llama3_scaling(fields, rope, name) if kind == "llama3" else None
    return _theta(fields, rope, name), scaling


def _theta(fields: Fields, rope: Fields, name: str) -> float:
    inner = f"{name}.rope_theta"
    outer = fields.number("rope_theta", _DEFAULT_THETA)
    theta = rope.number(inner, outer)
    if "rope_theta" in fields and theta != outer:
        raise rope.refuse(inner, f"the same as rope_theta ({outer})")
    return theta


def _refuse_partial_rotary(fields: Fields, rope: Fields, name: str) -> None:
    fields.require("partial_rotary_factor", 1.0)
    rope.require(f"{name}.partial_rotary_factor", 1.0)


def _llama3_scaling(fields: Fields, rope: Fields, name: str) -> RopeScaling:
    def number(key: str) -> float:
        return rope.number(f"{name}.{key}")

    length = "original_max_position_embeddings"
    # transformers lets a field beside rope_scaling win over the one inside it.
    outer: Any = fields.get(length)
    inner: Any = rope.get(f"{name}.{length}")
    if outer is not None and inner is not None and outer != inner:
        raise fields.refuse(length, f"the same as {name}.{length} ({inner})")
    return RopeScaling(
        factor=number("factor"),
        low_freq_factor=number("low_freq_factor"),
        high_freq_factor=number("high_freq_factor"),
        original_context=fields.size(length)
        if outer is not None
        else rope.size(f"{name}.{length}"),
    )
