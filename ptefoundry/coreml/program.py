"""Building the program: all methods lowered, merged and written as one `.pte`."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.base.config import ModelConfig, load_config
from ptefoundry.coreml.adapted import adapted
from ptefoundry.coreml.breaks import add_breaks
from ptefoundry.coreml.inputs import example_inputs, input_length
from ptefoundry.coreml.lowering import LoweredMethod, delegates, lower_method
from ptefoundry.coreml.merging import merge_parts
from ptefoundry.coreml.metadata import describe_program
from ptefoundry.coreml.methods import Method, list_methods
from ptefoundry.coreml.package import Package, write_package
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.coreml.quantizing import quantize_base
from ptefoundry.coreml.quiet import quiet_libraries
from ptefoundry.coreml.references import Reference
from ptefoundry.coreml.splitting import split_linears
from ptefoundry.coreml.static_model import load_static_model, torch_dtype
from ptefoundry.errors import BuildError
from ptefoundry.files import atomic_writer
from ptefoundry.report import progress
from ptefoundry.workspace import BASE_VARIANT

if TYPE_CHECKING:
    import torch
    from executorch.exir import ExecutorchProgramManager


def write_program(
    base: Path, adapters: Mapping[str, Path], params: CoremlParams, into: Path, scratch: Path
) -> None:
    """Build the program of a base and its adapters.

    Args:
        base: canonical folder.
        adapters: canonical folders by name.
        params: the backend's options.
        into: the `.pte` to write.
        scratch: an empty folder for what is made on the way.

    Raises:
        ConfigError: names or options do not fit.
        CheckpointError: static attention does not support the base.
        BuildError: methods cannot share their weights.
    """
    methods = list_methods(adapters, multifunction=params.multifunction)
    config = load_config(base / "config.json")
    chat = json.loads((base / "tokenizer" / "chat.json").read_text())
    with quiet_libraries():
        model = prepare_model(base, params)
        if params.graph_breaks:
            add_breaks(model)
        lowered = _lower_all(model, methods, adapters, config, params, scratch)
        del model
        packages = _merge_all(lowered, scratch)
        constants = describe_program(
            config,
            params,
            chat["eos_token_ids"],
            [(one.method, one.layout) for one in lowered],
        )
        manager = _assemble(lowered, packages, constants)
        with atomic_writer(into) as file:
            manager.write_to_file(file)


def prepare_model(base: Path, params: CoremlParams) -> "torch.nn.Module":
    """The static model of a base, split and quantized as the options say.

    Raises:
        ConfigError: the options do not fit the base.
        CheckpointError: static attention does not support the base.
    """
    model = load_static_model(base, params)
    if params.split_size is not None:
        split_linears(model, params.split_size, params.max_splits)
    quantize_base(model, params)
    return model


def _lower_all(
    model: "torch.nn.Module",
    methods: Sequence[Method],
    adapters: Mapping[str, Path],
    config: ModelConfig,
    params: CoremlParams,
    scratch: Path,
) -> list[LoweredMethod]:
    dtype, lowered = torch_dtype(params), []
    with progress("methods", len(methods), unit="methods") as advance:
        for method in methods:
            folder = None if method.adapter == BASE_VARIANT else adapters[method.adapter]
            example = example_inputs(config, params, input_length(params, method.role), dtype)
            with adapted(model, folder, dtype):
                lowered.append(lower_method(model, example, method, params, scratch))
            _check_partitions(lowered[0], lowered[-1])
            advance(1)
    return lowered


def _check_partitions(first: LoweredMethod, other: LoweredMethod) -> None:
    """Weights are shared between partitions of the same number, so each must have its like.

    Raises:
        BuildError: a method has operators that CoreML does not take, or other partitions.
    """
    for one in (first, other):
        if one.left:
            raise BuildError(
                f"method {one.method.name}: expected that CoreML takes all of it, found "
                f"{len(one.left)} operators that it leaves ({', '.join(sorted(set(one.left)))}); "
                "report it with params.yaml"
            )
    if len(first.parts) != len(other.parts):
        raise BuildError(
            f"method {other.method.name}: expected {len(first.parts)} partitions as in method "
            f"{first.method.name}, found {len(other.parts)}, so that weights cannot be shared; "
            f"{_first_difference(first, other)}; report it with params.yaml, and set "
            "backends.coreml.graph_breaks: false meanwhile"
        )


def _first_difference(first: LoweredMethod, other: LoweredMethod) -> str:
    """Where two methods are cut differently: the first partition with other operators."""
    pairs = zip_longest(first.operators, other.operators, fillvalue=())
    for number, (expected, found) in enumerate(map(_count_operators, pairs), start=1):
        if expected != found:
            more, fewer = _listed(found - expected), _listed(expected - found)
            return f"partition {number} is the first that differs: more {more}, fewer {fewer}"
    return "their partitions have the same operators"


def _count_operators(pair: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[Counter[str], ...]:
    return tuple(map(Counter, pair))


def _listed(operators: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(operators.items())) or "none"


def _merge_all(lowered: Sequence[LoweredMethod], scratch: Path) -> list[Package]:
    """For each partition one model with a function for each method."""
    functions = {one.method.name: one.method.function for one in lowered}
    packages = []
    for index, parts in enumerate(zip(*(one.parts for one in lowered), strict=True)):
        weights = scratch / f"weights-{index}.bin"
        model = merge_parts(parts, weights)
        packages.append(write_package(model, weights, functions, scratch / f"package-{index}"))
        weights.unlink()
    return packages


def _assemble(
    lowered: Sequence[LoweredMethod], packages: Sequence[Package], constants: dict[str, Any]
) -> "ExecutorchProgramManager":
    from executorch.exir import EdgeCompileConfig, EdgeProgramManager, ExecutorchBackendConfig
    from executorch.exir.passes import MemoryPlanningPass

    for one in lowered:
        _refer(one, packages)
    edge = EdgeProgramManager(
        {one.method.name: one.program for one in lowered},
        constants,
        EdgeCompileConfig(_check_ir_validity=False),
    )
    # The caller holds caches, inputs and outputs.
    planning = MemoryPlanningPass(alloc_graph_input=False, alloc_graph_output=False)
    return edge.to_executorch(
        ExecutorchBackendConfig(extract_delegate_segments=True, memory_planning_pass=planning)
    )


def _refer(lowered: LoweredMethod, packages: Sequence[Package]) -> None:
    """Let a method's delegates load the packages, by the reference that ExecuTorch defines."""
    from executorch.exir._serialize._cord import FileBackedData
    from executorch.exir._serialize._named_data_store import NamedDataStore

    for delegate, package in zip(delegates(lowered.program), packages, strict=True):
        reference = Reference(key=package.key, function=lowered.method.function)
        store = NamedDataStore()
        store.add_named_data(package.key, FileBackedData(str(package.path)))
        delegate._processed_bytes = reference.to_bytes()
        delegate._named_data_store_output = store.get_named_data_store_output()
