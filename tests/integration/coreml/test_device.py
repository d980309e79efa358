"""`prove_answers` on this machine, with methods that are lowered to no backend."""

import dataclasses

import pytest

from ptefoundry.coreml.device import prove_answers
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.errors import VerificationError
from ptefoundry.params import SmokeParams
from support.adapter_parity import convert, make_base
from support.static_programs import write_portable_program
from support.tiny_models import save_tiny_adapter

PARAMS = CoremlParams(context_length=64, input_length=4, dtype="fp32", split_size=None)
SMOKE = SmokeParams(prompts=("one two", "three"), tokens=6)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base, an adapter, and their program."""
    folder = tmp_path_factory.mktemp("program")
    base = make_base(folder)
    save_tiny_adapter(base.source, folder / "red", seed=1, lora_alpha=16)
    red = convert(base, folder / "red")
    program = folder / "program.pte"
    write_portable_program(base.canonical, {"red": red}, PARAMS, program)
    return base, red, program


def prove(made, variants, params=PARAMS):
    base, _, program = made
    return list(prove_answers(program, base.canonical, variants, params, SMOKE))


def test_the_program_says_what_the_model_says(made):
    found = prove(made, {"base": None, "red": made[1]})
    assert [one.spoken.adapter for one in found] == ["base", "base", "red", "red"]
    for one in found:
        assert one.equal == len(one.spoken.tokens) > 0
        assert one.gap == 0.0


def test_another_adapter_in_the_program_is_found(made, tmp_path):
    base, _, _ = made
    other = tmp_path / "other"
    save_tiny_adapter(base.source, other, seed=2, lora_alpha=64)
    with pytest.raises(VerificationError, match="coreml/red: 'one two': token"):
        prove(made, {"red": convert(base, other)})


def test_fp16_may_be_farther_off_than_fp32(made):
    half = dataclasses.replace(PARAMS, dtype="fp16")
    assert prove(made, {"base": None}, half)[0].gap == 0.0
