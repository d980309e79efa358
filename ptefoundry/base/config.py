"""The shape of a decoder-only transformer, and the names of its tensors.

`ModelConfig` is what every architecture is reduced to: RMSNorm, grouped-query
attention with rotary embeddings, SwiGLU. The canonical form of a base is a
folder of

- `config.json`: a `ModelConfig`,
- `model.safetensors`: tensors under Meta's names (below), with q and k rows in
  *interleaved* rotary order (Meta's: pairs of neighbours rotate together),
  whatever order the checkpoint had; biases and per-head norms likewise,
- `tokenizer/`: `tokenizer.json` and `chat.json`.

Canonical names: `tok_embeddings.weight` [vocab, dim], `norm.weight` [dim],
`output.weight` [vocab, dim] (absent when tied), and for each layer i under
`layers.i.`: `attention_norm.weight`, `ffn_norm.weight` [dim],
`attention.wq.weight` [heads*head_dim, dim], `attention.wk.weight` and
`attention.wv.weight` [kv_heads*head_dim, dim], `attention.wo.weight`
[dim, heads*head_dim], `attention.wq.bias` and so on where `qkv_bias`,
`attention.q_norm_fn.weight` and `attention.k_norm_fn.weight` [head_dim] where
`qk_norm`, `feed_forward.w1.weight` (gate) and `feed_forward.w3.weight` (up)
[hidden, dim], `feed_forward.w2.weight` (down) [dim, hidden].
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptefoundry.errors import CheckpointError

#: PEFT's and transformers' module names -> canonical path inside a layer.
LINEARS = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
}


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Llama-3's frequency scaling; transformers' `rope_type: llama3`."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int
    """Context length in tokens that the base was pretrained with."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shapes and constants of one base; sizes in elements."""

    architecture: str
    """transformers' class name: LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM."""
    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden_dim: int
    vocab_size: int
    norm_eps: float
    rope_theta: float
    max_context: int
    """Longest context in tokens that the base supports."""
    tied_embeddings: bool
    qkv_bias: bool = False
    qk_norm: bool = False
    rope_scaling: RopeScaling | None = None

    def linear_shape(self, path: str) -> tuple[int, int]:
        """(out_features, in_features) of a layer's linear, by canonical path."""
        heads, kv_heads = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        return {
            "attention.wq": (heads, self.dim),
            "attention.wk": (kv_heads, self.dim),
            "attention.wv": (kv_heads, self.dim),
            "attention.wo": (self.dim, heads),
            "feed_forward.w1": (self.hidden_dim, self.dim),
            "feed_forward.w3": (self.hidden_dim, self.dim),
            "feed_forward.w2": (self.dim, self.hidden_dim),
        }[path]

    def rotary_heads(self, path: str) -> int | None:
        """Number of rotated heads in a linear's rows; None if its rows do not rotate."""
        return {"attention.wq": self.n_heads, "attention.wk": self.n_kv_heads}.get(path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "ModelConfig":
        """The inverse of `to_dict`.

        Raises:
            TypeError: a field is missing or unknown.
        """
        scaling = fields.get("rope_scaling")
        return cls(**{**fields, "rope_scaling": RopeScaling(**scaling) if scaling else None})


def load_config(path: Path) -> ModelConfig:
    """Read a canonical `config.json`.

    Raises:
        CheckpointError: the file is missing or not what `ModelConfig` describes.
    """
    try:
        return ModelConfig.from_dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: expected a converted base's config.json ({error}); convert the base again"
        ) from error
