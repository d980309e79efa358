from pathlib import Path
from typing import Any

import pytest

from ptefoundry.base.checkpoints.huggingface_config import parse_config
from ptefoundry.base.config import ModelConfig, RopeScaling
from ptefoundry.base.fields import Fields
from ptefoundry.errors import CheckpointError

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 400,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "torch_dtype": "bfloat16",
    "pretraining_tp": 1,
}
QWEN2 = {
    **LLAMA,
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "sliding_window": 32768,
    "use_sliding_window": False,
    "max_window_layers": 21,
}
QWEN3 = {
    **QWEN2,
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "head_dim": 32,
    "layer_types": ["full_attention"] * 2,
}
SCALING = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def parse(fields: dict[str, Any], *without: str, **changed: Any) -> ModelConfig:
    values = {key: value for key, value in {**fields, **changed}.items() if key not in without}
    return parse_config(Fields(Path("base/config.json"), values))


def test_llama_fields_are_taken() -> None:
    assert parse(LLAMA) == ModelConfig(
        architecture="LlamaForCausalLM",
        dim=64,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        head_dim=16,
        hidden_dim=128,
        vocab_size=400,
        norm_eps=1e-5,
        rope_theta=500000.0,
        max_context=256,
        tied_embeddings=True,
    )


def test_architectures_differ_in_bias_and_norms() -> None:
    llama, qwen2, qwen3 = parse(LLAMA), parse(QWEN2), parse(QWEN3)
    assert (llama.qkv_bias, llama.qk_norm) == (False, False)
    assert (qwen2.qkv_bias, qwen2.qk_norm) == (True, False)
    assert (qwen3.qkv_bias, qwen3.qk_norm, qwen3.head_dim) == (False, True, 32)


def test_missing_fields_have_the_defaults_of_transformers() -> None:
    config = parse(
        LLAMA, "num_key_value_heads", "rope_theta", "rms_norm_eps", "tie_word_embeddings"
    )
    assert (config.n_kv_heads, config.rope_theta, config.norm_eps) == (4, 10000.0, 1e-6)
    assert not config.tied_embeddings


@pytest.mark.parametrize("kind", ["rope_type", "type"])
def test_llama3_scaling_of_transformers_4(kind: str) -> None:
    scaling = {key: value for key, value in SCALING.items() if key != "rope_type"}
    config = parse(LLAMA, rope_scaling={**scaling, kind: "llama3"})
    assert config.rope_theta == 500000.0
    assert config.rope_scaling == RopeScaling(
        factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=8192
    )


def test_llama3_scaling_of_transformers_5() -> None:
    old = parse(LLAMA, rope_scaling=SCALING)
    new = parse(LLAMA, "rope_theta", rope_parameters={**SCALING, "rope_theta": 500000.0})
    both = parse(LLAMA, rope_scaling=SCALING, rope_parameters=SCALING)
    assert old == new == both


def test_default_rope_parameters_mean_no_scaling() -> None:
    rope = {"rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 1.0}
    config = parse(LLAMA, "rope_theta", rope_parameters=rope)
    assert (config.rope_theta, config.rope_scaling) == (1e6, None)


@pytest.mark.parametrize(
    ("fields", "changed", "message"),
    [
        (LLAMA, {"architectures": ["MistralForCausalLM"]}, "architectures: found .*Mistral"),
        (LLAMA, {"architectures": ["LlamaModel"]}, "supported: one of LlamaForCausalLM, Qwen2"),
        (LLAMA, {"architectures": None}, "architectures: found None"),
        (LLAMA, {"model_type": "qwen2"}, "model_type: found 'qwen2'; supported: 'llama'"),
        (LLAMA, {"attention_bias": True}, "attention_bias: found True; supported: False"),
        (QWEN3, {"attention_bias": True}, "attention_bias: found True"),
        (LLAMA, {"mlp_bias": True}, "mlp_bias: found True"),
        (LLAMA, {"hidden_act": "gelu"}, "hidden_act: found 'gelu'; supported: 'silu'"),
        (LLAMA, {"sliding_window": 4096}, "sliding_window: found 4096"),
        (QWEN2, {"use_sliding_window": True}, "use_sliding_window: found True"),
        (QWEN3, {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types: found"),
        (LLAMA, {"quantization_config": {"bits": 4}}, "quantization_config: found .*bits"),
        (LLAMA, {"auto_map": {"AutoModel": "x.Y"}}, "auto_map: found"),
        (LLAMA, {"num_local_experts": 8}, "num_local_experts: found 8; supported: 0"),
        (LLAMA, {"partial_rotary_factor": 0.5}, "partial_rotary_factor: found 0.5"),
        (LLAMA, {"rope_interleaved": True}, "rope_interleaved: found True"),
        (LLAMA, {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type: found 'linear'"),
        (LLAMA, {"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling.rope_type: found 'yarn'"),
        (LLAMA, {"rope_scaling": {**SCALING, "mscale": 2}}, "rope_scaling.mscale: found 2"),
        (LLAMA, {"rope_scaling": {"rope_type": "default", "factor": 2}}, "factor: found 2"),
        (LLAMA, {"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling.factor: expected a value"),
        (
            LLAMA,
            {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}},
            "rope_parameters: found .*; supported: one set of parameters for all layers",
        ),
        (LLAMA, {"rope_parameters": {"rope_theta": 1e4}}, "rope_theta: found 10000.0"),
        (
            LLAMA,
            {"rope_scaling": SCALING, "rope_parameters": {**SCALING, "factor": 8.0}},
            "rope_scaling: found .*the same as rope_parameters",
        ),
        (
            LLAMA,
            {"rope_scaling": SCALING, "original_max_position_embeddings": 4096},
            "original_max_position_embeddings: found 4096",
        ),
        (LLAMA, {"hidden_size": 66}, "hidden_size: found 66; supported: a multiple of"),
        (LLAMA, {"hidden_size": "64"}, "hidden_size: found '64'; supported: a positive integer"),
        (LLAMA, {"num_hidden_layers": True}, "num_hidden_layers: found True"),
        (LLAMA, {"vocab_size": 0}, "vocab_size: found 0"),
        (LLAMA, {"rms_norm_eps": -1e-5}, "rms_norm_eps: found -1e-05"),
        (LLAMA, {"tie_word_embeddings": 1}, "tie_word_embeddings: found 1; supported: true or"),
        (LLAMA, {"num_hidden_layers": None}, "num_hidden_layers: expected a value"),
        (QWEN2, {"num_key_value_heads": None}, "num_key_value_heads: expected a value"),
        (QWEN3, {"head_dim": None}, "head_dim: expected a value"),
    ],
)
def test_what_we_cannot_represent_is_refused_by_name(
    fields: dict[str, Any], changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=f"^base/config.json: .*{message}"):
        parse(fields, **changed)


def test_qwen2_ignores_a_field_that_its_class_does_not_read() -> None:
    assert parse(QWEN2, attention_bias=True).qkv_bias
