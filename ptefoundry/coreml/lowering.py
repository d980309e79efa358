"""Lowering one method: from the static model to converted partitions and a program that calls them.

Methods are lowered one after the other, so that memory does not grow with them. What each
partition was converted to waits on disk until all methods can be merged
(`ptefoundry.coreml.merging`); the program calls placeholders until then.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.coreml.breaks import remove_breaks
from ptefoundry.coreml.inputs import Layout, read_layout
from ptefoundry.coreml.merging import ConvertedPart
from ptefoundry.coreml.methods import Method
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.files import place
from ptefoundry.lowering.shortcuts import SHORTCUTS, shortcuts

if TYPE_CHECKING:
    from executorch.exir.backend.compile_spec_schema import CompileSpec
    from torch.export import ExportedProgram
    from torch.nn import Module

BACKEND = "CoreMLBackend"
"""Name of the delegate."""
#: Those that keep the bytes; without generated code coremltools writes others.
_SHORTCUTS = tuple(name for name in SHORTCUTS if name != "code_on_demand")


@dataclass(frozen=True, kw_only=True)
class LoweredMethod:
    """A method whose partitions are converted, but not yet in the program."""

    method: Method
    program: "ExportedProgram"
    """Calls one delegate for each part."""
    parts: tuple[ConvertedPart, ...]
    layout: Layout
    operators: tuple[tuple[str, ...], ...]
    """Names of the operators of each part."""
    left: tuple[str, ...]
    """Operators that no partition took."""


def lower_method(
    model: "Module", example: tuple[Any, ...], method: Method, params: CoremlParams, scratch: Path
) -> LoweredMethod:
    """Trace a model and convert its partitions.

    Args:
        model: static model, with the method's adapter in it.
        example: arguments of a call.
        method: what it becomes.
        params: the backend's options.
        scratch: folder for what was converted.
    """
    import torch
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    parts: list[ConvertedPart] = []

    def keep(converted: Any) -> None:
        parts.append(_save(converted, method, scratch / f"{method.name}-{len(parts)}"))

    partitioner = CoreMLPartitioner(
        compile_specs=_compile_specs(params), take_over_mutable_buffer=False
    )
    with _converting(keep), shortcuts([partitioner], _SHORTCUTS):
        with torch.no_grad():
            exported = torch.export.export(model, example)
        layout = read_layout(exported.call_spec.in_spec, exported.call_spec.out_spec)
        edge = to_edge_transform_and_lower(
            {method.name: exported},
            partitioner=[partitioner],
            compile_config=EdgeCompileConfig(_check_ir_validity=False),
        )
    program = edge.exported_program(method.name)
    remove_breaks(program)
    _let_go_of_tensors(program)
    del exported, edge
    # Cycles of the graphs hold copies of constants.
    gc.collect()
    return LoweredMethod(
        method=method,
        program=program,
        parts=tuple(parts),
        layout=layout,
        operators=tuple(_operators(delegate) for delegate in delegates(program)),
        left=tuple(_operators_left(program)),
    )


def delegates(program: "ExportedProgram") -> Iterator[Any]:
    """The lowered modules that a program calls, in the order of the calls."""
    from executorch.exir.delegate import executorch_call_delegate

    for node in program.graph_module.graph.nodes:
        if node.target == executorch_call_delegate:
            yield getattr(program.graph_module, node.args[0].target)


def _let_go_of_tensors(program: "ExportedProgram") -> None:
    """Replace what delegates were converted from: it would stay for every method.

    Of the delegates' own programs only types and shapes are asked for from here on, and the
    calling program keeps what it uses itself. A table that two partitions use was even
    copied for one of them.
    """
    used = _used_constants(program)
    for one in (program, *(delegate.original_module for delegate in delegates(program))):
        for tensors in (one.state_dict, one.constants):
            for name, tensor in tensors.items():
                if one is not program or name not in used:
                    tensors[name] = _without_data(tensor)


def _used_constants(program: "ExportedProgram") -> set[str]:
    """Names of tensors that a program passes to something."""
    used = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    return {
        spec.target
        for spec in program.graph_signature.input_specs
        if spec.target is not None and spec.arg.name in used
    }


def _without_data(tensor: Any) -> Any:
    """A tensor of one number that looks like this one; anything else as it is."""
    import torch

    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.numel() < 2:
        return tensor
    hollow = torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(hollow, requires_grad=False)
    return hollow


def _compile_specs(params: CoremlParams) -> "list[CompileSpec]":
    import coremltools
    from executorch.backends.apple.coreml.compiler import CoreMLBackend

    precision = {"fp16": coremltools.precision.FLOAT16, "fp32": coremltools.precision.FLOAT32}
    specs: list[CompileSpec] = CoreMLBackend.generate_compile_specs(
        minimum_deployment_target=coremltools.target[params.deployment_target],
        compute_precision=precision[params.dtype],
        compute_unit=coremltools.ComputeUnit[params.compute_units.upper()],
        model_type=CoreMLBackend.MODEL_TYPE.MODEL,
    )
    return specs


@contextmanager
def _converting(keep: Callable[[Any], None]) -> Iterator[None]:
    """Let ExecuTorch's CoreML backend convert partitions and no more.

    It would copy each partition with its weights first, and then make a package of one
    method, or merge all methods in memory.
    """
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.exir.backend.backend_details import PreprocessResult

    def convert(programs: dict[str, list[Any]], specs: dict[str, list[Any]]) -> Any:
        results: dict[str, list[Any]] = {}
        for name, partitions in programs.items():
            results[name] = []
            for program, spec in zip(partitions, specs[name], strict=True):
                keep(CoreMLBackend._convert_to_mlmodel(program, spec, skip_model_load=True))
                results[name].append(PreprocessResult(processed_bytes=b"later"))
                gc.collect()
        return results

    replaced = {
        "preprocess_multimethod": staticmethod(convert),
        "copy_exported_program_for_preprocess": staticmethod(lambda program, _specs: program),
    }
    kept = {name: CoreMLBackend.__dict__.get(name) for name in replaced}
    for name, function in replaced.items():
        setattr(CoreMLBackend, name, function)
    try:
        yield
    finally:
        for name, function in kept.items():
            if function is None:
                delattr(CoreMLBackend, name)
            else:
                setattr(CoreMLBackend, name, function)


def _save(converted: Any, method: Method, into: Path) -> ConvertedPart:
    """Keep what coremltools made, whose own files go with it."""
    into.mkdir(parents=True)
    model = into / "model.mlmodel"
    model.write_bytes(converted.get_spec().SerializeToString())
    weights = into / "weight.bin"
    source = Path(converted.weights_dir or "") / "weight.bin"
    if converted.weights_dir is None or not source.is_file():
        return ConvertedPart(function=method.function, model=model, weights=None)
    # coremltools removes its file with the model; a link stays.
    place(source, weights)
    return ConvertedPart(function=method.function, model=model, weights=weights)


def _operators(delegate: Any) -> tuple[str, ...]:
    graph = delegate.original_module.graph
    return tuple(str(node.target) for node in graph.nodes if node.op == "call_function")


def _operators_left(program: "ExportedProgram") -> Iterator[str]:
    import operator

    from executorch.exir.delegate import executorch_call_delegate

    for node in program.graph_module.graph.nodes:
        if node.op == "call_function" and node.target not in (
            executorch_call_delegate,
            operator.getitem,
        ):
            yield str(node.target)
