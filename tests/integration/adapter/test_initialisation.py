"""Initialisations that change the base: refused, and right once PEFT has converted them.

PEFT takes B@A out of the base when it makes such an adapter and does it again
when it loads one. Its own conversion turns the training's difference into an
ordinary adapter of twice the rank.
"""

import pytest
import torch

from ptefoundry.adapter.read import read_adapter
from ptefoundry.errors import AdapterError
from support.adapter_parity import TOLERANCE, convert, difference, our_logits, peft_logits

pytestmark = pytest.mark.filterwarnings("ignore")

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def train(base, init, folder):
    """Save an adapter after a pretended training, as it is and converted."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base.source, dtype=torch.float32)
    before = model.model.layers[0].self_attn.q_proj.weight.clone()
    config = LoraConfig(r=4, target_modules=ALL, init_lora_weights=init, task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    after = adapted.base_model.model.model.layers[0].self_attn.q_proj.base_layer.weight
    assert difference(before, after) > 0.01
    adapted.peft_config["default"].init_lora_weights = True
    adapted.save_pretrained(folder / "initial")
    adapted.peft_config["default"].init_lora_weights = init
    generator = torch.Generator().manual_seed(5)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    with torch.no_grad():
        from support.adapter_parity import TOKENS

        logits = adapted(input_ids=torch.tensor([TOKENS])).logits[0]
    adapted.save_pretrained(folder / "raw")
    initial = str(folder / "initial")
    adapted.save_pretrained(folder / "converted", path_initial_model_for_weight_conversion=initial)
    return logits


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora"])
def test_refused_until_converted(base, init, tmp_path):
    trained = train(base, init, tmp_path)
    with pytest.raises(AdapterError) as caught:
        read_adapter(tmp_path / "raw")
    text = str(caught.value)
    assert f'adapter_config.json: init_lora_weights: found "{init}"' in text
    assert "path_initial_model_for_weight_conversion" in text

    adapter = tmp_path / "converted"
    ours = our_logits(base, convert(base, adapter))
    assert difference(ours, peft_logits(base, adapter)) <= TOLERANCE
    assert difference(ours, trained) <= TOLERANCE
    assert read_adapter(adapter).options.rank == 8
