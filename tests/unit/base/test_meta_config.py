from pathlib import Path
from typing import Any

import pytest

from ptefoundry.base.checkpoints.meta_config import parse_params
from ptefoundry.base.config import ModelConfig
from ptefoundry.base.fields import Fields
from ptefoundry.errors import CheckpointError

LLAMA_3_2_1B = {
    "dim": 2048,
    "ffn_dim_multiplier": 1.5,
    "multiple_of": 256,
    "n_heads": 32,
    "n_kv_heads": 8,
    "n_layers": 16,
    "norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "use_scaled_rope": True,
    "vocab_size": 128256,
}
LLAMA_3_8B = {
    **LLAMA_3_2_1B,
    "dim": 4096,
    "ffn_dim_multiplier": 1.3,
    "multiple_of": 1024,
    "n_layers": 32,
    "use_scaled_rope": False,
}
LLAMA_2_7B = {
    "dim": 4096,
    "multiple_of": 256,
    "n_heads": 32,
    "n_layers": 32,
    "norm_eps": 1e-05,
    "vocab_size": -1,
}


def parse(fields: dict[str, Any], *, tied: bool = False, **changed: Any) -> ModelConfig:
    params = Fields(Path("base/params.json"), {**fields, **changed})
    return parse_params(params, table_rows=32000, tied=tied)


def test_llama_3_2_1b_has_its_published_shape() -> None:
    config = parse(LLAMA_3_2_1B, tied=True)
    assert (config.hidden_dim, config.head_dim, config.n_kv_heads) == (8192, 64, 8)
    assert (config.max_context, config.tied_embeddings) == (131072, True)
    assert config.rope_scaling is not None
    assert config.rope_scaling.factor == 32.0


def test_llama_3_1_has_a_factor_of_8() -> None:
    scaling = parse(LLAMA_3_8B, use_scaled_rope=True).rope_scaling
    assert scaling is not None
    assert scaling.factor == 8.0


def test_llama_3_is_not_scaled() -> None:
    config = parse(LLAMA_3_8B)
    assert (config.hidden_dim, config.max_context, config.rope_scaling) == (14336, 8192, None)


@pytest.mark.parametrize("name", ["rope_scaling_factor", "rope_scale_factor"])
def test_a_factor_that_is_said_wins(name: str) -> None:
    scaling = parse(LLAMA_3_2_1B, tied=True, **{name: 16.0}).rope_scaling
    assert scaling is not None
    assert scaling.factor == 16.0


def test_llama_2_takes_the_vocabulary_from_the_table() -> None:
    config = parse(LLAMA_2_7B, max_seq_len=4096)
    assert (config.vocab_size, config.hidden_dim, config.n_kv_heads) == (32000, 11008, 32)
    assert (config.rope_theta, config.max_context) == (10000.0, 4096)


@pytest.mark.parametrize(
    ("fields", "changed", "message"),
    [
        (LLAMA_2_7B, {}, "max_seq_len: found 'nothing'; supported: the context length"),
        (LLAMA_3_8B, {"moe_args": {}}, "moe_args: found {}; supported: the fields dim"),
        (LLAMA_3_8B, {"quantization_args": {"scheme": "x"}}, "quantization_args: found"),
        (LLAMA_3_8B, {"dim": 4100}, "dim: found 4100; supported: a multiple of n_heads"),
        (LLAMA_3_8B, {"n_layers": None}, "n_layers: expected a value"),
    ],
)
def test_what_we_cannot_represent_is_refused_by_name(
    fields: dict[str, Any], changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=f"^base/params.json: {message}"):
        parse(fields, **changed)
