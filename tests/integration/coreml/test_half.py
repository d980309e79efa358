"""What fp16 makes of large numbers, and that a base for which it is not enough is refused."""

import json
import shutil

import pytest
import torch

from ptefoundry.coreml import norm
from ptefoundry.coreml.half import prove_half
from ptefoundry.coreml.norm import ScaledRMSNorm
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.coreml.parity import prove_parity
from ptefoundry.errors import VerificationError
from ptefoundry.model.parity import Answer, make_reference
from ptefoundry.params import SmokeParams
from support.adapter_parity import TOKENS, make_base

PARAMS = CoremlParams(context_length=32, input_length=8)
ANSWER = Answer(prompt="", prompt_tokens=TOKENS[:9], tokens=TOKENS[9:])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base"), tied=False, num_hidden_layers=1)


@pytest.fixture(scope="module")
def large(base, tmp_path_factory):
    """The canonical base with residuals that are tens of thousands of times larger."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("large") / "canonical"
    shutil.copytree(base.canonical, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["tok_embeddings.weight"] *= 20_000
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1, 300, 10_000])
@pytest.mark.parametrize("eps", [1e-5, 1e-6])
def test_a_norm_is_the_usual_one_and_holds_in_fp16(scale, eps):
    x = scale * torch.randn(64, 576, generator=torch.Generator().manual_seed(0))
    weight = torch.nn.Parameter(torch.linspace(0.5, 2, 576), requires_grad=False)
    expected = torch.nn.functional.rms_norm(x, (576,), weight, eps)
    scaled = ScaledRMSNorm(weight, eps)
    # Relative to the largest result, which is of the order of 10.
    assert float((scaled(x) - expected).abs().max()) < 1e-5
    half = ScaledRMSNorm(torch.nn.Parameter(weight.half(), requires_grad=False), eps)(x.half())
    assert half.dtype == torch.float16
    assert float((half - expected).abs().max()) < 2e-2


def test_zeros_stay_zeros_in_fp16():
    weight = torch.nn.Parameter(torch.ones(8, dtype=torch.float16))
    assert not ScaledRMSNorm(weight, 1e-6)(torch.zeros(2, 8, dtype=torch.float16)).any()


def test_residuals_as_large_as_those_of_real_models_are_right(large):
    assert prove_half(large, ("base", None), [ANSWER], PARAMS) < 0.1


def test_the_usual_norm_is_found_to_be_wrong(large, monkeypatch):
    monkeypatch.setattr(norm, "scale_norms", lambda _model: None)
    with pytest.raises(VerificationError, match=r"coreml/base: .* set backends.coreml.dtype: fp32"):
        prove_half(large, ("base", None), [ANSWER], PARAMS)


def test_a_program_of_quantized_weights_is_compared_with_them(base):
    """4 bits change this model far more than fp16 does."""
    params = CoremlParams(context_length=32, input_length=8, linear="c4w", embedding="8,0")
    assert prove_half(base.canonical, ("base", None), [ANSWER], params) < 0.1


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_the_metrics_of_a_smoke_run_say_it(base, tmp_path, dtype):
    reference, program = tmp_path / "reference", tmp_path / "program.pte"
    smoke = SmokeParams(prompts=("one",), tokens=3)
    make_reference(base.source, base.canonical, None, None, smoke=smoke, into=reference)
    program.write_bytes(b"program")
    params = CoremlParams(context_length=64, input_length=8, dtype=dtype)
    into = tmp_path / "metrics.json"
    prove_parity(base.canonical, ("base", None), reference, params, program, into)
    metrics = json.loads(into.read_text())
    assert metrics["equal_tokens"] > 0
    gap = metrics["fp16_gap"]
    assert gap is None if dtype == "fp32" else 0 <= gap < 0.1
