"""torchtune's own spelling, against the PEFT adapter that torchtune would write of it.

The files here are made from a PEFT adapter by the inverse of torchtune's
`tune_to_peft_adapter_weights` (Llama). torchtune's Qwen models keep transformers'
row order, so there only the names change.
"""

import pytest

from ptefoundry.adapter.weights import WEIGHTS_FILE
from support.adapter_parity import TOLERANCE, convert, difference, our_logits, peft_logits
from support.tiny_adapters import rename_tensors, save_peft_adapter

NAMES = {
    "self_attn.o_proj": "attn.output_proj",
    "self_attn.": "attn.",
    "mlp.gate_proj": "mlp.w1",
    "mlp.down_proj": "mlp.w2",
    "mlp.up_proj": "mlp.w3",
    "lora_A": "lora_a",
    "lora_B": "lora_b",
    "base_model.model.model.": "",
}


def torchtune_name(name):
    for theirs, ours in NAMES.items():
        name = name.replace(theirs, ours)
    return name


def permute_to_torchtune(folder):
    """Undo `t.view(heads, head_dim // 2, 2, rank).transpose(1, 2)` on q and k of tiny Llama."""
    from safetensors.torch import load_file, save_file

    heads = {"q_proj": 4, "k_proj": 2}
    tensors = load_file(folder / WEIGHTS_FILE)
    for name, tensor in tensors.items():
        parts = name.split(".")
        if parts[-2] == "lora_b" and parts[-3] in heads:
            rows = tensor.view(heads[parts[-3]], 2, 16 // 2, -1).transpose(1, 2)
            tensors[name] = rows.reshape(tensor.shape).contiguous()
    save_file(tensors, folder / WEIGHTS_FILE)


@pytest.fixture
def adapter(tmp_path):
    return tmp_path / "adapter"


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "k_proj"]])
def test_llama(llama, adapter, targets):
    save_peft_adapter(llama.source, adapter, target_modules=targets)
    expected = peft_logits(llama, adapter)
    rename_tensors(adapter, torchtune_name)
    permute_to_torchtune(adapter)
    assert difference(peft_logits(llama, adapter), expected) == 0
    assert difference(our_logits(llama, convert(llama, adapter)), expected) <= TOLERANCE


@pytest.mark.parametrize("name", ["Qwen2ForCausalLM", "Qwen3ForCausalLM"])
def test_qwen(bases, name, adapter):
    base = bases[name]
    save_peft_adapter(base.source, adapter, target_modules="all-linear")
    expected = peft_logits(base, adapter)
    rename_tensors(adapter, torchtune_name)
    assert difference(peft_logits(base, adapter), expected) == 0
    assert difference(our_logits(base, convert(base, adapter)), expected) <= TOLERANCE


def test_rows_in_the_other_order_would_be_noticed(llama, adapter):
    save_peft_adapter(llama.source, adapter, target_modules=["q_proj", "k_proj"])
    expected = peft_logits(llama, adapter)
    rename_tensors(adapter, torchtune_name)
    assert difference(our_logits(llama, convert(llama, adapter)), expected) > 100 * TOLERANCE
