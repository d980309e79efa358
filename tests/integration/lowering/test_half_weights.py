"""Weights of fp16: in programs, written without the compiler, and beside integers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from integration.lowering.built import Built
from integration.lowering.runtime import eager_logits, runtime_logits
from safetensors.torch import load_file, save_file

from ptefoundry.base.config import load_config
from ptefoundry.bundle.weights import list_weights
from ptefoundry.errors import BuildError, CheckpointError
from ptefoundry.lowering import halves
from ptefoundry.lowering.build import build_foundation
from ptefoundry.lowering.encodings import encode_fp16
from ptefoundry.lowering.foundation import load_foundation
from ptefoundry.lowering.ptd import read_ptd
from ptefoundry.lowering.pte import read_pte
from ptefoundry.model.eager import load_model
from ptefoundry.model.parity import load_answers, make_reference
from ptefoundry.model.quantized import make_quantized_reference
from ptefoundry.params import SmokeParams, XnnpackParams
from ptefoundry.raw_tensors import open_tensors

CALLS = [[5, 17, 9, 200, 31], [7], [300, 2, 44]]
PLAIN = XnnpackParams(context_length=48, prefill_length=16)
HALVES = replace(PLAIN, embedding="fp16", linear="fp16")
SMOKE = SmokeParams(prompts=("The quick brown fox", "Ünïcödé 🙂"), tokens=6)
#: All of it, of a bf16 checkpoint; with biases and an untied head; a tied head of halves
#: beside linears and a table of integers.
VARIANTS: dict[str, tuple[XnnpackParams, dict[str, Any]]] = {
    "LlamaForCausalLM": (HALVES, {"dtype": "bfloat16"}),
    "Qwen2ForCausalLM": (HALVES, {"tied": False, "num_hidden_layers": 1}),
    "Qwen3ForCausalLM": (
        replace(PLAIN, embedding="8,0", linear="8da4w,64", head="fp16"),
        {"num_hidden_layers": 1},
    ),
}


@pytest.fixture(scope="module", params=VARIANTS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    params, options = VARIANTS[request.param]
    return Built(tmp_path_factory.mktemp("halves"), request.param, params, **options)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Built:
    params, options = VARIANTS["LlamaForCausalLM"]
    return Built(tmp_path_factory.mktemp("halves"), "LlamaForCausalLM", params, **options)


def test_linked_files_equal_full_exports(built: Built, tmp_path: Path) -> None:
    foundation = built.foundation.read_bytes()
    for name, linked in built.programs.items():
        if name == "blue":
            continue  # red's template, and the program differs
        program, data = built.export(name, tmp_path)
        assert linked.read_bytes() == program, name
        assert foundation == data, name


def test_programs_compute_the_eager_model(built: Built) -> None:
    results = {}
    for name, program in built.programs.items():
        results[name] = runtime_logits(program, built.foundation, CALLS)
        expected = eager_logits(built.base, built.adapters[name], built.params, CALLS)
        torch.testing.assert_close(results[name], expected, atol=1e-4, rtol=0)
    assert (results["red"] - results["blue"]).abs().max() > 0.1


def test_the_delegate_has_as_many_partitions_as_in_fp32(llama: Built, tmp_path: Path) -> None:
    plain = Built(tmp_path, "LlamaForCausalLM", PLAIN, dtype="bfloat16")
    assert _partitions(llama.programs[None]) == _partitions(plain.programs[None])


def test_a_tied_head_is_stored_with_the_table(built: Built) -> None:
    config, sizes = load_config(built.base / "config.json"), {}
    for entry in read_ptd(built.foundation).entries:
        sizes[entry.segment] = entry.size
    tables = sorted(size for size in sizes.values() if size >= config.vocab_size * config.dim)
    half, byte = 2 * config.vocab_size * config.dim, config.vocab_size * config.dim
    if built.params.embedding == "fp16":
        assert tables == ([half] if config.tied_embeddings else [half, half])
    else:
        assert tables == [byte, half]


def test_foundation_says_what_is_stored_in_halves(llama: Built) -> None:
    foundation = load_foundation(llama.foundation.parent)
    tensors = load_file(llama.base / "model.safetensors")
    linears = sum(one.numel() for one in tensors.values() if one.dim() == 2)
    forms = {(one.what, one.form): one.bytes for one in list_weights(foundation)}
    table = tensors["tok_embeddings.weight"].numel()
    assert forms["linears", "fp16"] == 2 * (linears - table)
    assert forms["embedding table", "fp16"] == 2 * table
    assert forms["norms, biases, constants", "fp32"] > 0


def test_weights_of_bf16_checkpoints_are_kept(llama: Built) -> None:
    plain = load_model(llama.base, context=8)
    model = load_model(llama.base, context=8, schemes=llama.params.schemes)
    for path, linear in plain.named_modules():
        if isinstance(linear, torch.nn.Linear):
            error = (model.get_submodule(path).weight.float() - linear.weight).abs()
            assert error.max() <= 2**-25
            assert (error[linear.weight.abs() >= 2**-17] == 0).all()


def test_weights_too_large_for_halves_are_refused(llama: Built, tmp_path: Path) -> None:
    path = llama.base / "model.safetensors"
    kept = path.read_bytes()
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    tensors["layers.1.feed_forward.w2.weight"][3, 5] = -65536
    message = r"layers.1.feed_forward.w2.weight: expected values of at most 65504.* found 65536"
    try:
        save_file(tensors, path)
        with pytest.raises(CheckpointError, match=message):
            build_foundation(llama.base, llama.root / "templates", tmp_path / "foundation")
        with pytest.raises(CheckpointError, match=message):
            load_model(llama.base, context=8, schemes=llama.params.schemes)
    finally:
        path.write_bytes(kept)
    assert not (tmp_path / "foundation").exists()


def test_rounding_is_to_nearest_even_as_in_pytorch(llama: Built, tmp_path: Path) -> None:
    """Of subnormals too, and of values between two that fp16 has."""
    generator = torch.Generator().manual_seed(0)
    exponents = torch.randint(-30, 16, (64, 64), generator=generator)
    values = torch.randn(64, 64, generator=generator).clamp(-1.9, 1.9) * 2.0**exponents
    values[0, :4] = torch.tensor([2049.0, 2051.0, 2**-25, 3 * 2**-25])
    save_file({"w": values}, tmp_path / "values.safetensors")
    with open_tensors(tmp_path / "values.safetensors", CheckpointError) as tensors:
        stored = b"".join(encode_fp16(tensors, "w"))
    assert stored == values.half().numpy().tobytes()


def test_a_linear_that_the_delegate_leaves_fails_the_export(
    llama: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halves, "partitioner_configs", lambda: None)
    with pytest.raises(BuildError, match="takes every linear that is not fp32, found"):
        llama.export(None, tmp_path)


def test_answers_are_compared_as_strictly_as_in_fp32(llama: Built, tmp_path: Path) -> None:
    original, halved = tmp_path / "original", tmp_path / "halved"
    make_reference(llama.base_source, llama.base, None, None, smoke=SMOKE, into=original)
    make_quantized_reference(
        llama.base, None, original, params=llama.params, tokens=SMOKE.tokens, into=halved
    )
    before, after = load_answers(original), load_answers(halved)
    assert after.rounding is None
    assert after.answers == before.answers
    assert after.quantization is not None
    assert after.quantization.logits < 1e-3


def _partitions(program: Path) -> int:
    (method,) = (method for method in read_pte(program).methods if not method.constants)
    return len(method.delegates)
