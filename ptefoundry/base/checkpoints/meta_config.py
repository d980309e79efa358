"""Meta's `params.json` of Llama 2 and 3 as a `ModelConfig`.

The file says less than others: neither the context length nor the scaling's factor.
Both follow from the family, the way transformers' `convert_llama_weights_to_hf.py`
has them by version: scaled RoPE is Llama 3.1 and later with 131,072 tokens, theta
500,000 without scaling is Llama 3 with 8,192. Fields that say it win.
"""

from ptefoundry.base.config import ModelConfig, RopeScaling
from ptefoundry.base.fields import Fields

_KNOWN = {
    "dim",
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "head_dim",
    "hidden_dim",
    "vocab_size",
    "multiple_of",
    "ffn_dim_multiplier",
    "norm_eps",
    "rope_theta",
    "use_scaled_rope",
    "rope_scale_factor",
    "rope_scaling_factor",
    "max_seq_len",
}

_LLAMA3_THETA = 500000.0


def parse_params(params: Fields, *, table_rows: int | None, tied: bool) -> ModelConfig:
    """Read a `params.json`.

    Args:
        params: the file's fields.
        table_rows: rows of the embedding table, which Llama 2's files give as
            `vocab_size: -1`; None if there is no table.
        tied: whether the checkpoint has no head of its own.

    Raises:
        CheckpointError: a field is missing, malformed or not supported.
    """
    for name in sorted(set(params.values) - _KNOWN):
        raise params.refuse(name, f"the fields {', '.join(sorted(_KNOWN))}")
    dim, heads = params.size("dim"), params.size("n_heads")
    if "head_dim" not in params and dim % heads:
        raise params.refuse("dim", f"a multiple of n_heads ({heads})")
    return ModelConfig(
        architecture="LlamaForCausalLM",
        dim=dim,
        n_layers=params.size("n_layers"),
        n_heads=heads,
        n_kv_heads=params.size("n_kv_heads", heads),
        head_dim=params.size("head_dim", dim // heads),
        hidden_dim=_hidden_dim(params, dim),
        vocab_size=_vocab_size(params, table_rows),
        norm_eps=params.number("norm_eps"),
        rope_theta=params.number("rope_theta", 10000.0),
        max_context=_max_context(params),
        tied_embeddings=tied,
        rope_scaling=_rope_scaling(params, tied=tied),
    )


def _hidden_dim(params: Fields, dim: int) -> int:
    """SwiGLU's width, as in the FeedForward of Meta's `llama3/model.py`."""
    if "hidden_dim" in params:
        return params.size("hidden_dim")
    hidden = int(2 * (4 * dim) / 3)
    hidden = int(params.number("ffn_dim_multiplier", 1.0) * hidden)
    multiple = params.size("multiple_of")
    return multiple * ((hidden + multiple - 1) // multiple)


def _vocab_size(params: Fields, table_rows: int | None) -> int:
    if params.get("vocab_size") == -1 and table_rows is not None:
        return table_rows
    return params.size("vocab_size")


def _max_context(params: Fields) -> int:
    if "max_seq_len" in params:
        return params.size("max_seq_len")
    if params.flag("use_scaled_rope", default=False):
        return 131072
    if params.get("rope_theta") == _LLAMA3_THETA:
        return 8192
    raise params.refuse(
        "max_seq_len",
        "the context length in tokens, which only Llama 3's params.json may leave out "
        "(for another family, take the checkpoint in Hugging Face format)",
    )


def _rope_scaling(params: Fields, *, tied: bool) -> RopeScaling | None:
    if not params.flag("use_scaled_rope", default=False):
        return None
    # Llama 3.2's text models are those with a tied head, and those with a factor of 32:
    # https://github.com/meta-llama/llama-models/issues/241
    default = params.number("rope_scale_factor", 32.0 if tied else 8.0)
    return RopeScaling(
        factor=params.number("rope_scaling_factor", default),
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_context=8192,
    )
