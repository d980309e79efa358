import pytest

from ptefoundry.adapter.spelling import MatrixName, explain_name, has_half_order, parse_name

Q = "model.layers.3.self_attn.q_proj"


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.3.self_attn.q_proj.lora_A.default.weight",
        "base_model.model.layers.3.self_attn.q_proj.lora_A.weight",
        "model.layers.3.self_attn.q_proj.lora_A.weight",
        "model.layers.3.self_attn.q_proj.lora_A.default.weight",
        "layers.3.self_attn.q_proj.lora_A.weight",
    ],
)
def test_spellings_with_transformers_names(name):
    assert parse_name(name) == MatrixName(Q, "a", "peft")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("attn.q_proj", "self_attn.q_proj"),
        ("attn.k_proj", "self_attn.k_proj"),
        ("attn.v_proj", "self_attn.v_proj"),
        ("attn.output_proj", "self_attn.o_proj"),
        ("mlp.w1", "mlp.gate_proj"),
        ("mlp.w2", "mlp.down_proj"),
        ("mlp.w3", "mlp.up_proj"),
    ],
)
def test_torchtune_names(theirs, ours):
    expected = MatrixName(f"model.layers.12.{ours}", "b", "torchtune")
    assert parse_name(f"layers.12.{theirs}.lora_b.weight") == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", "DoRA"),
        ("layers.0.attn.q_proj.magnitude", "DoRA"),
        ("base_model.model.model.embed_tokens.lora_embedding_A", "embedding"),
        ("base_model.model.model.embed_tokens.weight", "embedding"),
        ("base_model.model.model.embed_tokens.trainable_tokens_delta", "trainable_token_indices"),
        ("base_model.model.lm_head.lora_A.weight", "output head"),
        ("base_model.model.lm_head.weight", "output head"),
        ("output.lora_a.weight", "output head"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias", "lora_bias"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.default.bias", "lora_bias"),
        ("base_model.model.model.layers.0.self_attn.q_proj.bias", "trained bias"),
        ("layers.0.attention.wq.lora_a.weight", "Meta"),
        ("layers.0.feed_forward.w1.adaptor.A.weight", "Meta"),
        ("base_model.model.model.layers.0.self_attn.qkv_proj.lora_A.weight", "no supported base"),
        ("base_model.model.transformer.h.0.attn.c_attn.lora_A.weight", "no supported base"),
        ("base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight", "no supported base"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\n", "no supported base"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.other.weight", "no supported"),
        ("base_model.model.model.norm.weight", "not a LoRA matrix"),
        ("model.layers.0.self_attn.q_proj.weight", "not a LoRA matrix"),
    ],
)
def test_other_tensors_are_explained(name, reason):
    assert parse_name(name) is None
    assert reason in explain_name(name)


def test_row_order():
    assert has_half_order("peft", "LlamaForCausalLM")
    assert has_half_order("peft", "Qwen3ForCausalLM")
    assert not has_half_order("torchtune", "LlamaForCausalLM")
    assert has_half_order("torchtune", "Qwen2ForCausalLM")
    assert has_half_order("torchtune", "Qwen3ForCausalLM")
