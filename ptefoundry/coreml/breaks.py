"""Graph breaks: embedding, layers and head as CoreML models of their own.

An operator that CoreML does not know stands between them while partitions are made, and is
taken out afterwards. It returns its input.
"""

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_LIBRARY = torch.library.Library("ptefoundry", "FRAGMENT")
_LIBRARY.define("graph_break(Tensor x) -> Tensor")
_LIBRARY.impl("graph_break", lambda x: x, "CompositeExplicitAutograd")


def add_breaks(model: torch.nn.Module) -> None:
    """Put breaks before the first layer and after the last one."""
    # As hooks, so that the paths of modules stay the same.
    model.layers[0].register_forward_pre_hook(_before)
    model.layers[-1].register_forward_hook(_after)


def remove_breaks(program: "ExportedProgram") -> None:
    """Take the breaks out of a lowered graph, in place."""
    from executorch.exir.dialects._ops import ops

    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target == ops.edge.ptefoundry.graph_break.default:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    program.graph_module.recompile()


def _before(_layer: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    x, *others = arguments
    return (torch.ops.ptefoundry.graph_break(x), *others)


def _after(_layer: torch.nn.Module, _arguments: Any, output: tuple[Any, ...]) -> tuple[Any, ...]:
    x, *others = output
    return (torch.ops.ptefoundry.graph_break(x), *others)
