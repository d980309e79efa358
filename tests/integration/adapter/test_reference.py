"""The reference model against transformers' and PEFT's own entry points."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file

from ptefoundry.errors import CheckpointError
from ptefoundry.model.reference import greedy, load_reference, reference_logits
from support.adapter_parity import TOKENS, difference, make_base
from support.tiny_adapters import save_peft_adapter
from support.tiny_checkpoints import save_gguf
from support.tiny_models import LLAMA3_SCALING

EOS = [2]


@pytest.fixture
def adapter(base, tmp_path):
    save_peft_adapter(base.source, tmp_path / "adapter", target_modules="all-linear")
    return tmp_path / "adapter"


def original(base):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base.source, dtype=torch.float32).eval()


def test_logits_are_those_of_transformers(base, socket_disabled):
    model = load_reference(base.source, None, base.canonical)
    with torch.no_grad():
        expected = original(base)(input_ids=torch.tensor([TOKENS])).logits[0]
    logits = reference_logits(model, TOKENS)
    assert logits.shape == (len(TOKENS), model.config.vocab_size)
    assert logits.dtype == torch.float32
    assert difference(logits, expected) < 1e-5
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_logits_with_an_adapter_are_those_of_merged_weights(base, adapter, socket_disabled):
    model = load_reference(base.source, adapter, base.canonical)
    logits = reference_logits(model, TOKENS)
    merged = original(base)
    tensors = load_file(adapter / "adapter_model.safetensors")
    for name in sorted(tensors):
        if name.endswith("lora_A.weight"):
            module = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            lora_b = tensors[name.replace("lora_A", "lora_B")]
            merged.get_submodule(module).weight.data += 8 / 4 * (lora_b @ tensors[name])
    assert difference(logits, reference_logits(merged, TOKENS)) < 1e-4


def test_bfloat16_bases_are_computed_in_fp32(tmp_path):
    base = make_base(tmp_path, dtype="bfloat16")
    model = load_reference(base.source, None, base.canonical)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_greedy_is_transformers_generate(base, adapter):
    model = load_reference(base.source, adapter, base.canonical)
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = model.generate(input_ids=torch.tensor([TOKENS]), **settings)
    (tokens,) = greedy(model, [TOKENS], 12, [])
    assert tokens == expected[0, len(TOKENS) :].tolist()


def test_greedy_ends_with_the_first_end_token(base, adapter):
    model = load_reference(base.source, adapter, base.canonical)
    (tokens,) = greedy(model, [TOKENS], 12, [])
    assert greedy(model, [TOKENS], 12, [tokens[3]]) == [tokens[: tokens.index(tokens[3]) + 1]]
    assert greedy(model, [TOKENS], 1, []) == [tokens[:1]]
    assert greedy(model, [TOKENS], 0, []) == [[]]


def test_prompts_answered_together_get_the_answers_that_each_gets_alone(base, adapter):
    """Of different lengths, ending at different steps, more than are answered at once."""
    model = load_reference(base.source, adapter, base.canonical)
    prompts = [TOKENS[:length] for length in (1, 4, 2, 6, 5, 3, 1, 2, 6, 4)]
    alone = [greedy(model, [prompt], 12, [])[0] for prompt in prompts]
    assert greedy(model, prompts, 12, []) == alone
    end = alone[3][2]
    ended = [answer[: answer.index(end) + 1] if end in answer else answer for answer in alone]
    assert len({len(answer) for answer in ended}) > 1
    assert greedy(model, prompts, 12, [end]) == ended


def test_prompts_are_not_changed_and_nothing_is_remembered(base):
    model, prompt = load_reference(base.source, None, base.canonical), list(TOKENS)
    first = greedy(model, [prompt], 5, EOS)
    assert prompt == TOKENS
    assert greedy(model, [prompt], 5, EOS) == first


@pytest.mark.parametrize("scaling", [{}, LLAMA3_SCALING])
def test_gguf_files(tmp_path, scaling, capfd):
    rope = {"rope_theta": 10000.0, **scaling}
    base = make_base(tmp_path / "base", rope_parameters=rope)
    save_gguf(base.source, tmp_path / "gguf")
    save_peft_adapter(base.source, tmp_path / "adapter", target_modules="all-linear")
    capfd.readouterr()
    prompt = [*TOKENS] * 9  # beyond the context before scaling
    logits = [
        reference_logits(load_reference(source, tmp_path / "adapter", base.canonical), prompt)
        for source in (base.source, tmp_path / "gguf")
    ]
    assert difference(*logits) < 1e-4
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("tied", [True, False])
def test_meta_checkpoints_are_rebuilt_from_the_canonical_form(tmp_path, tied):
    rope = {"rope_theta": 10000.0, **LLAMA3_SCALING}
    base = make_base(tmp_path / "base", tied=tied, rope_parameters=rope)
    meta = tmp_path / "meta"
    meta.mkdir()
    (meta / "consolidated.00.pth").write_bytes(b"never opened")
    model = load_reference(meta, None, base.canonical)
    prompt = [*TOKENS] * 9  # beyond the context before scaling
    expected = reference_logits(load_reference(base.source, None, base.canonical), prompt)
    assert difference(reference_logits(model, prompt), expected) < 1e-5


def test_other_architectures_are_rebuilt_too(base, tmp_path):
    (tmp_path / "consolidated.00.pth").write_bytes(b"never opened")
    model = load_reference(tmp_path, None, base.canonical)
    expected = reference_logits(load_reference(base.source, None, base.canonical), TOKENS)
    assert difference(reference_logits(model, TOKENS), expected) < 1e-5


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"expected \*\.safetensors"):
        load_reference(tmp_path, None, tmp_path)


def test_a_broken_base_is_refused(llama, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(CheckpointError, match="transformers cannot load the base"):
        load_reference(tmp_path, None, llama.canonical)


def test_loading_is_quiet(base, adapter, capfd):
    load_reference(base.source, adapter, base.canonical)
    assert capfd.readouterr() == ("", "")


def test_warnings_of_peft_are_kept(llama, tmp_path):
    save_peft_adapter(llama.source, tmp_path, target_modules=["q_proj"])
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "target_modules": ["k_proj"]}))
    with pytest.warns(UserWarning, match="missing adapter keys"):
        load_reference(llama.source, tmp_path, llama.canonical)
