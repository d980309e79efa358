"""Static programs in ExecuTorch's own runtime: methods, lengths and caches as metadata says.

The CoreML delegate runs on Apple's systems only; the same model without a delegate runs here.
"""

import torch

from ptefoundry.coreml.answering import runtime_call
from ptefoundry.coreml.driver import StaticDriver
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.lowering.pte import read_pte
from support.adapter_parity import TOKENS, TOLERANCE, difference, make_base, our_logits
from support.static_programs import write_portable_program


def test_each_adapter_s_method_answers_as_the_adapter(llama, tmp_path):
    base, adapters = llama
    params = CoremlParams(
        context_length=32, input_length=8, dtype="fp32", multifunction=False, split_size=None
    )
    path = tmp_path / "portable.pte"
    write_portable_program(base.canonical, {"red": adapters["red"]}, params, path)
    program = read_pte(path)
    call = runtime_call(program)
    assert {*program.entry_points} == {"forward", "red"}
    for name, folder in (("base", None), ("red", adapters["red"])):
        driver = StaticDriver(program.constants, call, adapter=name)
        found = torch.stack([driver.read(TOKENS[:-1]), driver.read(TOKENS[-1:])])
        assert difference(found, our_logits(base, folder)[-2:]) < TOLERANCE


def test_prefill_and_decode_share_their_caches(tmp_path):
    base = make_base(tmp_path, num_hidden_layers=1)
    params = CoremlParams(context_length=32, input_length=8, dtype="fp32")
    path = tmp_path / "portable.pte"
    write_portable_program(base.canonical, {}, params, path)
    called: list[str] = []
    call = runtime_call(read_pte(path))

    def noted(method: str, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        called.append(method)
        return call(method, inputs)

    driver = StaticDriver(read_pte(path).constants, noted, adapter="base")
    found = torch.stack([driver.read(TOKENS[:-2]), *map(driver.read, ([TOKENS[-2]], [TOKENS[-1]]))])
    assert called == ["prefill", "prefill", "forward", "forward"]
    assert difference(found, our_logits(base, None)[-3:]) < TOLERANCE
