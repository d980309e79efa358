"""Core ML itself: programs as they are built, answering on the CPU of the machine."""

import sys

import pytest

from ptefoundry.coreml.build import PROGRAM_FILE, build_program
from ptefoundry.coreml.device import prove_answers
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.params import SmokeParams
from support.adapter_parity import convert, make_base
from support.tiny_models import save_tiny_adapter

pytestmark = pytest.mark.skipif(
    sys.platform != "darwin",
    reason="ExecuTorch's CoreMLBackend needs Core ML, which only Apple's systems have",
)
SMOKE = SmokeParams(prompts=("one two", "three"), tokens=6)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base of one layer and an adapter, canonical."""
    folder = tmp_path_factory.mktemp("models")
    base = make_base(folder, num_hidden_layers=1)
    save_tiny_adapter(base.source, folder / "red", seed=1, lora_alpha=16)
    return base.canonical, convert(base, folder / "red")


@pytest.mark.parametrize(
    "options",
    [{}, {"linear": "c4w", "embedding": "8,0"}, {"linear": "b4w"}, {"multifunction": False}],
    ids=["fp16", "c4w", "b4w", "one length"],
)
def test_core_ml_says_what_the_model_says(models, tmp_path, options):
    base, red = models
    params = CoremlParams(context_length=64, input_length=8, **options)
    build_program(base, {"red": red}, params, tmp_path / "coreml")
    program = tmp_path / "coreml" / PROGRAM_FILE
    variants = {"base": None, "red": red}
    found = list(prove_answers(program, base, variants, params, SMOKE, "cpu_only"))
    assert [one.spoken.adapter for one in found] == ["base", "base", "red", "red"]
    assert all(one.gap < 0.1 for one in found)
