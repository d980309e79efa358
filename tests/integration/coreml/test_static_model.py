"""The static model computes what PEFT computes, in every way that it is called."""

import pytest
import torch

from ptefoundry.coreml.adapted import adapted
from ptefoundry.coreml.driver import StaticDriver
from ptefoundry.coreml.eager import eager_program
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.coreml.program import prepare_model
from ptefoundry.coreml.static_model import load_static_model
from ptefoundry.errors import AdapterError, CheckpointError, ConfigError
from support.adapter_parity import TOKENS, TOLERANCE, difference, our_logits, peft_logits
from support.tiny_models import ARCHITECTURES

FP32 = {"context_length": 64, "dtype": "fp32", "split_size": 24}


def _driver_logits(driver: StaticDriver) -> torch.Tensor:
    """Logits [4, vocab]: after five tokens, after all but the last two, and of each of these."""
    calls = (TOKENS[:5], TOKENS[5:-2], TOKENS[-2:-1], TOKENS[-1:])
    return torch.stack([driver.read(tokens) for tokens in calls])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("multifunction", [False, True])
def test_logits_are_those_of_peft(tiny, architecture, multifunction):
    base, adapters = tiny[architecture]
    # Calls of 4 tokens, so that prompts take several.
    params = CoremlParams(input_length=4, multifunction=multifunction, **FP32)
    model = prepare_model(base.canonical, params)
    rows = [4, len(TOKENS) - 3, len(TOKENS) - 2, len(TOKENS) - 1]
    variants = {"base": (None, None), **adapters}
    for name, (source, converted) in variants.items():
        with eager_program(model, base.canonical, (name, converted), params) as program:
            driver = StaticDriver(program.constants, program.call, adapter=name)
            found = _driver_logits(driver)
        assert difference(found, peft_logits(base, source)[rows]) < TOLERANCE
        if converted is not None:
            assert difference(found, our_logits(base, converted)[rows]) < TOLERANCE


def test_every_adapter_uses_the_base_s_own_tensors(llama):
    base, adapters = llama
    params = CoremlParams(linear="c4w", embedding="8,0", **FP32)
    model = prepare_model(base.canonical, params)
    before = {name: id(tensor) for name, tensor in model.named_parameters()}
    for folder in adapters.values():
        with adapted(model, folder, torch.float32):
            during = dict(model.named_parameters())
            added = {name for name in during if "lora_" in name}
            assert {id(during[name]) for name in during.keys() - added} == {*before.values()}
            assert {during[name].dtype for name in added} == {torch.float32}
            assert all(type(during[name].data) is torch.Tensor for name in added)
    assert {name: id(tensor) for name, tensor in model.named_parameters()} == before


def test_a_failure_leaves_the_base_as_it_was(llama, tmp_path):
    base, _ = llama
    model = load_static_model(base.canonical, CoremlParams(**FP32))
    names = [name for name, _ in model.named_modules()]
    with pytest.raises(AdapterError), adapted(model, tmp_path, torch.float32):
        pytest.fail("entered")
    assert [name for name, _ in model.named_modules()] == names


@pytest.mark.parametrize("multifunction", [False, True])
def test_a_conversation_ends_with_its_context_token_by_token(llama, multifunction):
    base, _ = llama
    params = CoremlParams(
        context_length=16, input_length=4, dtype="fp32", multifunction=multifunction
    )
    model = load_static_model(base.canonical, params)
    with eager_program(model, base.canonical, ("base", None), params) as program:
        driver = StaticDriver(program.constants, program.call, adapter="base")
        driver.read(TOKENS)
        driver.read([1, 2])
        driver.read([3])
        with pytest.raises(ConfigError, match="at most 16 tokens"):
            driver.read([4])
        with pytest.raises(ConfigError, match="expected one of base, found 'red'"):
            StaticDriver(program.constants, program.call, adapter="red")


def test_what_the_ane_s_floats_cannot_hold_is_refused(llama, tmp_path):
    from safetensors.torch import load_file, save_file

    base, _ = llama
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_bytes((base.canonical / "config.json").read_bytes())
    tensors = load_file(base.canonical / "model.safetensors")
    tensors["layers.1.feed_forward.w2.weight"] *= 1e6
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.1\.feed_forward\.w2\.weight.*dtype: fp32"):
        load_static_model(folder, CoremlParams())
    load_static_model(folder, CoremlParams(dtype="fp32"))


def test_architectures_that_static_attention_lacks_are_refused_by_name(llama, tmp_path):
    base, _ = llama
    text = (base.canonical / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace("LlamaForCausalLM", "MambaForCausalLM"))
    with pytest.raises(CheckpointError, match=r"architecture: found MambaForCausalLM"):
        load_static_model(tmp_path, CoremlParams())


@pytest.mark.parametrize(
    ("options", "named"),
    [({"embedding": "4,48"}, "embedding: expected groups that divide"), ({"linear": "b4w"}, None)],
)
def test_groups_that_do_not_fit_are_refused(llama, options, named):
    base, _ = llama
    params = CoremlParams(**FP32, **options)
    if named is None:
        prepare_model(base.canonical, params)
        return
    with pytest.raises(ConfigError, match=named):
        prepare_model(base.canonical, params)
