"""Letting XNNPACK take linears whose weights are stored in half precision.

In the graph the weight is converted to fp32 before each linear. XNNPACK has an operator
of fp32 activations and fp16 weights that does so once, when it packs them. ExecuTorch's
partitioner does not know it: it wants weights to be constants, and takes no conversion.
So the conversion is given to the linear's partition, and left out there.
"""

from typing import TYPE_CHECKING, Any

from executorch.backends.xnnpack._passes.xnnpack_pass import XNNPACKPass
from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS
from executorch.backends.xnnpack.partition.config.gemm_configs import LinearConfig
from executorch.backends.xnnpack.partition.config.xnnpack_config import ConfigPrecisionType
from executorch.backends.xnnpack.utils.utils import get_input_node, is_param_node
from executorch.exir.dialects._ops import ops as exir_ops
from torch import float16, float32, ops
from torch.fx.passes.infra.pass_base import PassResult

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

_CONVERSIONS = (
    ops.aten.to.dtype,
    ops.aten._to_copy.default,
    exir_ops.edge.aten._to_copy.default,
)
"""The same before and after ExecuTorch makes a graph its own."""


class HalfLinearConfig(LinearConfig):  # type: ignore[misc]  # ExecuTorch has no types here
    """Linears as ExecuTorch takes them, and those of fp16 weights."""

    def _get_weight_deps(
        self, node: "torch.fx.Node", ep: "ExportedProgram", precision: ConfigPrecisionType
    ) -> "tuple[bool, list[torch.fx.Node]]":
        conversion = get_input_node(node, self.weight_idx)
        if is_widening(conversion) and is_param_node(ep, conversion.args[0]):
            return True, [conversion, conversion.args[0]]
        found: tuple[bool, list[torch.fx.Node]] = super()._get_weight_deps(node, ep, precision)
        return found


class WeightsAsStored(XNNPACKPass):  # type: ignore[misc]
    """Gives the delegate a linear's fp16 weight instead of the fp32 one made of it."""

    def call(self, graph_module: "torch.fx.GraphModule") -> PassResult:
        """Take the conversions out of a partition's graph, in place.

        It cannot be traced any more, as PyTorch has no linear of two types, so no pass
        may follow.
        """
        found = [node for node in graph_module.graph.nodes if is_widening(node)]
        for node in found:
            node.replace_all_uses_with(node.args[0])
            graph_module.graph.erase_node(node)
        if found:
            graph_module.recompile()
        return PassResult(graph_module, bool(found))


def partitioner_configs() -> list[Any]:
    """ExecuTorch's, with ours for linears."""
    return [HalfLinearConfig if one is LinearConfig else one for one in ALL_PARTITIONER_CONFIGS]


def is_widening(node: "torch.fx.Node") -> bool:
    """Whether a node makes fp32 weights of stored fp16 ones."""
    if node.op != "call_function" or node.target not in _CONVERSIONS:
        return False
    source = node.args[0]
    return source.op == "placeholder" and _types(source, node) == (float16, float32)


def _types(*nodes: "torch.fx.Node") -> "tuple[torch.dtype, ...]":
    return tuple(node.meta["val"].dtype for node in nodes)
