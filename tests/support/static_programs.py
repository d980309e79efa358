"""Static programs that run on Linux: the model of a CoreML program, lowered to no backend."""

from collections.abc import Mapping
from pathlib import Path

from ptefoundry.base.config import load_config
from ptefoundry.coreml.adapted import adapted
from ptefoundry.coreml.inputs import example_inputs, input_length, read_layout
from ptefoundry.coreml.metadata import describe_program
from ptefoundry.coreml.methods import list_methods
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.coreml.program import prepare_model
from ptefoundry.coreml.static_model import torch_dtype


def write_portable_program(
    base: Path, adapters: Mapping[str, Path], params: CoremlParams, into: Path
) -> None:
    """Write a program with the methods and metadata of a CoreML program, for portable kernels."""
    import torch
    from executorch.exir import EdgeCompileConfig, to_edge

    config, model = load_config(base / "config.json"), prepare_model(base, params)
    dtype, exported, layouts = torch_dtype(params), {}, []
    for method in list_methods(adapters, multifunction=params.multifunction):
        example = example_inputs(config, params, input_length(params, method.role), dtype)
        with adapted(model, adapters.get(method.adapter), dtype), torch.no_grad():
            exported[method.name] = torch.export.export(model, example)
        spec = exported[method.name].call_spec
        layouts.append((method, read_layout(spec.in_spec, spec.out_spec)))
    constants = describe_program(config, params, [2], layouts)
    edge = to_edge(
        exported,
        constant_methods=constants,
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    into.write_bytes(edge.to_executorch().buffer)
