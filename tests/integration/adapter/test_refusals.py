"""Adapters that PEFT writes and that are refused, each by the field or tensor in question."""

import json

import pytest

from ptefoundry.adapter.fit import fit_adapter
from ptefoundry.adapter.read import read_adapter
from ptefoundry.base.config import load_config
from ptefoundry.errors import AdapterError
from support.tiny_adapters import save_peft_adapter

LINEARS = ["q_proj", "v_proj"]
REFUSED = {
    "use_dora": {"use_dora": True},
    "bias": {"bias": "all"},
    "modules_to_save": {"modules_to_save": ["lm_head"]},
    "trainable_token_indices": {"trainable_token_indices": [1, 2]},
    "alora_invocation_tokens": {"alora_invocation_tokens": [5, 6]},
    "layer_replication": {"layer_replication": [[0, 2], [0, 2]]},
    "lora_bias": {"lora_bias": True},
    "init_lora_weights": {"init_lora_weights": "pissa"},
    "ensure_weight_tying": {"ensure_weight_tying": True},
    "target_parameters": {"target_parameters": ["mlp.gate_proj.weight"]},
}


def refusal_of(base, folder):
    with pytest.raises(AdapterError) as caught:
        fit_adapter(read_adapter(folder), load_config(base.canonical / "config.json"))
    return str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("field", REFUSED)
def test_options(llama, field, tmp_path):
    save_peft_adapter(llama.source, tmp_path, target_modules=LINEARS, **REFUSED[field])
    value = json.loads((tmp_path / "adapter_config.json").read_text())[field]
    text = refusal_of(llama, tmp_path)
    assert f"adapter_config.json: {field}: found {json.dumps(value)}; supported: " in text


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("settings", "tensor"),
    [
        ({"use_dora": True}, "q_proj.lora_magnitude_vector"),
        ({"bias": "lora_only"}, None),
        ({"modules_to_save": ["lm_head"]}, "base_model.model.lm_head.weight"),
        ({"target_modules": ["embed_tokens"]}, "embed_tokens.lora_embedding_A"),
        ({"target_modules": [*LINEARS, "lm_head"]}, "lm_head.lora_A.weight"),
        ({"lora_bias": True}, "q_proj.lora_B.bias"),
        ({"trainable_token_indices": [1]}, "embed_tokens.token_adapter.trainable_tokens_delta"),
    ],
)
def test_tensors(llama, settings, tensor, tmp_path):
    save_peft_adapter(llama.source, tmp_path, **{"target_modules": LINEARS, **settings})
    text = refusal_of(llama, tmp_path)
    if tensor is not None:
        assert "adapter_model.safetensors: tensors: found" in text
        assert tensor in text


def test_trained_biases_are_refused_by_name(bases, tmp_path):
    base = bases["Qwen2ForCausalLM"]  # the only one whose linears have biases
    save_peft_adapter(base.source, tmp_path, target_modules=LINEARS, bias="lora_only")
    text = refusal_of(base, tmp_path)
    assert 'bias: found "lora_only"; supported: "none"' in text
    assert (
        "a trained bias: base_model.model.model.layers.0.self_attn.q_proj.base_layer.bias" in text
    )


@pytest.mark.parametrize("name", ["LoHaConfig", "IA3Config", "AdaLoraConfig", "VeraConfig"])
def test_other_methods(llama, name, tmp_path):
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    more = {"IA3Config": {"feedforward_modules": []}, "AdaLoraConfig": {"total_step": 10}}
    config = getattr(peft, name)(target_modules=LINEARS, **more.get(name, {}))
    model = AutoModelForCausalLM.from_pretrained(llama.source, dtype=torch.float32)
    peft.get_peft_model(model, config).save_pretrained(tmp_path)
    text = refusal_of(llama, tmp_path)
    assert f'peft_type: found "{config.peft_type.value}"; supported: "LORA"' in text


def test_prompt_tuning(llama, tmp_path):
    from peft import PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    get_peft_model(AutoModelForCausalLM.from_pretrained(llama.source), config).save_pretrained(
        tmp_path
    )
    text = refusal_of(llama, tmp_path)
    assert 'peft_type: found "PROMPT_TUNING"' in text
    assert "no LoRA matrix at all" in text


def test_an_adapter_of_another_base(bases, tmp_path):
    save_peft_adapter(bases["Qwen3ForCausalLM"].source, tmp_path, target_modules=LINEARS)
    text = refusal_of(bases["LlamaForCausalLM"], tmp_path)
    assert "q_proj.lora_B.weight [128, 4] instead of [64, 4]" in text


def test_a_pickle(llama, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(llama.source, dtype=torch.float32)
    config = LoraConfig(target_modules=LINEARS, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(tmp_path, safe_serialization=False)
    text = refusal_of(llama, tmp_path)
    assert "found only adapter_model.bin, a pickle, which is never opened here" in text


def test_the_command_that_a_refused_pickle_tells_converts_it(llama, tmp_path):
    import shlex
    import subprocess
    import sys

    import torch
    from safetensors.torch import load_file

    save_peft_adapter(llama.source, tmp_path, target_modules=LINEARS)
    weights = tmp_path / "adapter_model.safetensors"
    torch.save(load_file(weights), tmp_path / "adapter_model.bin")
    weights.unlink()
    text = refusal_of(llama, tmp_path)
    _python, *arguments = shlex.split(text.split("convert with: ")[1])
    subprocess.run([sys.executable, *arguments], cwd=tmp_path, check=True)
    assert len(read_adapter(tmp_path).weights.modules()) == 4
