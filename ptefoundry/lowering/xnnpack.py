"""Compiling the eager model to an XNNPACK program and its data file.

Base tensors are tagged for `foundation.ptd`, adapter matrices stay in the
program. XNNPACK names each constant by the sha256 of its bytes, so the same
base gives the same data file whichever adapter stands beside it.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.base.config import ModelConfig
from ptefoundry.errors import BuildError
from ptefoundry.files import atomic_writer, write_bytes
from ptefoundry.lowering.eos import METHOD as EOS_IDS
from ptefoundry.lowering.eos import PLACEHOLDERS, fill_ids, integers_at
from ptefoundry.lowering.pte import read_pte
from ptefoundry.lowering.shortcuts import shortcuts
from ptefoundry.params import XnnpackParams

if TYPE_CHECKING:
    import torch
    from executorch.exir import EdgeProgramManager, ExecutorchProgramManager

    from ptefoundry.model.transformer import Transformer

FOUNDATION = "foundation"
"""Tag of the base's tensors, and the stem of their file."""


@dataclass(frozen=True)
class Compiled:
    """A lowered program, not yet on disk."""

    manager: "ExecutorchProgramManager"
    eos_ids: tuple[int, ...]

    def write_program(self, path: Path) -> None:
        """Write the `.pte`."""
        with atomic_writer(path) as file:
            self.manager.write_to_file(file)
        if 0 in self.eos_ids:
            image = bytearray(path.read_bytes())
            fill_ids(image, integers_at(read_pte(path)), self.eos_ids)
            write_bytes(path, bytes(image))

    def write_foundation(self, path: Path) -> None:
        """Write the base's tensors as a `.ptd`."""
        # ExecuTorch's own write_tensor_data_to_file chooses the name and the mode itself.
        with atomic_writer(path) as file:
            self.manager._tensor_data[FOUNDATION].write_to_file(file)


def compile_program(
    model: "Transformer", config: ModelConfig, params: XnnpackParams, eos_ids: tuple[int, ...]
) -> Compiled:
    """Export and lower a model; takes seconds per layer and one core.

    Args:
        model: in evaluation mode, fp32 but for what is quantized; linears with adapters
            are `LoraLinear`.
        config: its shape.
        params: the backend's options.
        eos_ids: token ids that end an answer, kept in the program as metadata; what
            `load_eos_ids` gives, or its placeholders.

    Raises:
        BuildError: the delegate does not take a quantized linear.
    """
    # The libraries have notices at their import, too.
    with _quiet():
        return _lower(model, config, params, eos_ids)


def _lower(
    model: "Transformer", config: ModelConfig, params: XnnpackParams, eos_ids: tuple[int, ...]
) -> Compiled:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig
    from executorch.exir import to_edge_transform_and_lower as lower
    from executorch.exir.passes import MemoryPlanningPass
    from executorch.exir.passes.sym_shape_eval_pass import ConstraintBasedSymShapeEvalPass

    from ptefoundry.lowering.halves import partitioner_configs

    partitioners = [XnnpackPartitioner(configs=partitioner_configs())]
    with _needed_passes_only(), shortcuts(partitioners):
        exported = _export(model, params.prefill)
        _tag_constants(exported)
        edge = lower(
            exported,
            partitioner=partitioners,
            compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
            constant_methods=_metadata(config, params, eos_ids),
        )
        _check_taken(edge)
        manager = edge.to_executorch(
            ExecutorchBackendConfig(
                memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
                sym_shape_eval_pass=ConstraintBasedSymShapeEvalPass(),
                external_constants=_tag,
            )
        )
    return Compiled(manager, eos_ids)


def _export(model: "Transformer", prefill: int) -> "torch.export.ExportedProgram":
    """Trace the model for 1 to `prefill` tokens a call."""
    import torch
    from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  shapes of llama:: ops

    # Two tokens or more, because torch.export would take a length of 1 for a constant.
    example = (torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    length = torch.export.Dim("length", min=1, max=prefill)
    with torch.no_grad():
        return torch.export.export(model, example, dynamic_shapes=({1: length}, None))


def _tag(node: "torch.fx.Node") -> str | None:
    return None if "lora" in node.name else FOUNDATION


def _tag_constants(exported: "torch.export.ExportedProgram") -> None:
    """Say for each constant that a delegate may take which file it goes to."""
    import torch
    from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers the operator

    ops = torch.ops.quantized_decomposed
    dequantize = (ops.dequantize_per_channel_group.default, ops.dequantize_per_channel.default)
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            node.meta.setdefault("custom", {})["delegate_constant_tag"] = _tag(node)
        elif node.target in dequantize:
            # The delegate takes the linear's weight for the result of this.
            node.meta.setdefault("custom", {})["delegate_constant_tag"] = _tag(node.args[0])


def _check_taken(edge: "EdgeProgramManager") -> None:
    """Check that the delegate took every linear that is not fp32: it would be slow, and fp32.

    Raises:
        BuildError: it left one.
    """
    from ptefoundry.lowering.halves import is_widening

    left = [
        node.name
        for node in edge.exported_program().graph.nodes
        if node.op == "call_function" and ("quantize_per_" in str(node.target) or is_widening(node))
    ]
    if left:
        raise BuildError(
            "expected that XNNPACK takes every linear that is not fp32, found "
            f"{len(left)} operators that it left ({left[0]}); write none for "
            "backends.xnnpack.linear and head, and report it with params.yaml"
        )


def _metadata(
    config: ModelConfig, params: XnnpackParams, eos_ids: tuple[int, ...]
) -> dict[str, Any]:
    """Constant methods, under the names that ExecuTorch's LLM runners ask for."""
    # The exporter leaves zeros out, and then there is no place to link one into.
    numbers = [number or PLACEHOLDERS[at] for at, number in enumerate(eos_ids)]
    return {
        "get_max_context_len": params.context_length,
        "get_max_seq_len": params.prefill,
        "get_n_layers": config.n_layers,
        "get_vocab_size": config.vocab_size,
        EOS_IDS: numbers,
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": True,
        "enable_dynamic_shape": True,
    }


@contextmanager
def _needed_passes_only() -> Iterator[None]:
    """Run one of XNNPACK's 17 passes on each partition instead of all, and one of ours.

    The others look for batch norms, convolutions, statically quantized operators and
    so on, of which our model has none, and each traces the whole partition again: more
    than half of the time of lowering. That the bytes stay the same is tested.
    """
    from executorch.backends.xnnpack import xnnpack_preprocess
    from executorch.backends.xnnpack._passes.convert_to_linear import ConvertToLinearPass

    from ptefoundry.lowering.halves import WeightsAsStored

    manager = xnnpack_preprocess.XNNPACKPassManager

    def with_needed_passes(program: Any, passes: Any = None) -> Any:
        return manager(program, passes or [ConvertToLinearPass, WeightsAsStored])

    xnnpack_preprocess.XNNPACKPassManager = with_needed_passes
    try:
        yield
    finally:
        xnnpack_preprocess.XNNPACKPassManager = manager


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the exporter's notices about its own deprecations and buffers."""
    loggers = [logging.getLogger(name) for name in ("torch", "executorch", "root")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Mutation on a buffer in the model")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
