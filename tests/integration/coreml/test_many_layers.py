"""Ten and more layers have caches whose names sort otherwise as text: l10 comes before l2."""

import pytest
import torch

from ptefoundry.base.config import load_config
from ptefoundry.coreml.driver import StaticDriver
from ptefoundry.coreml.eager import eager_program
from ptefoundry.coreml.inputs import example_inputs, read_layout
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.coreml.static_model import load_static_model
from support.adapter_parity import TOKENS, TOLERANCE, difference, make_base, our_logits

LAYERS = 12
PARAMS = CoremlParams(context_length=32, input_length=8, dtype="fp32", multifunction=False)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(
        tmp_path_factory.mktemp("deep"),
        num_hidden_layers=LAYERS,
        hidden_size=32,
        intermediate_size=32,
    )


def _find_difference(base, program, constants) -> float:
    driver = StaticDriver(constants, program.call, adapter="base")
    driver.read(TOKENS[:8])
    # Only now do the caches matter.
    return difference(driver.read(TOKENS[8:]), our_logits(base, None)[-1])


def test_each_layer_keeps_its_own_cache(base):
    model = load_static_model(base.canonical, PARAMS)
    with eager_program(model, base.canonical, ("base", None), PARAMS) as program:
        assert _find_difference(base, program, program.constants) < TOLERANCE
        specs = torch.tensor(program.constants["get_forward_caches"]).view(LAYERS, 4)
        by_text = sorted(range(LAYERS), key=lambda layer: f"l{layer},h0")
        assert by_text != [*range(LAYERS)]
        mixed = specs.clone()
        mixed[:, 1], mixed[:, 3] = specs[by_text, 1], specs[by_text, 3]
        wrong = program.constants | {"get_forward_caches": mixed.flatten().tolist()}
        assert _find_difference(base, program, wrong) > 10 * TOLERANCE


def test_an_exported_method_has_the_same_numbers(base):
    model = load_static_model(base.canonical, PARAMS)
    config = load_config(base.canonical / "config.json")
    example = example_inputs(config, PARAMS, PARAMS.input_length, torch.float32)
    with torch.no_grad():
        exported = torch.export.export(model, example)
    layout = read_layout(exported.call_spec.in_spec, exported.call_spec.out_spec)
    inputs = [one.arg.name for one in exported.graph_signature.input_specs if one.target is None]
    outputs = [one.arg.name for one in exported.graph_signature.output_specs]
    # Shapes and dataflow tell which is which: a layer's new keys are joined to its own cache.
    nodes = {node.name: node for node in exported.graph.nodes}
    assert len(layout.caches) == LAYERS
    for keys_in, keys_out, values_in, values_out in layout.caches:
        for cache, update in ((keys_in, keys_out), (values_in, values_out)):
            (joined,) = nodes[inputs[cache]].users
            assert joined.target == torch.ops.aten.cat.default
            assert joined.args[0] == [nodes[inputs[cache]], nodes[outputs[update]]]
