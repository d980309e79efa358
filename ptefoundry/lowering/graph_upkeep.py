"""Keeping graphs in order at less cost while they are lowered, with the same bytes."""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from ptefoundry.lowering.patching import replaced

if TYPE_CHECKING:
    import torch


@contextmanager
def shared_provenance() -> Iterator[None]:
    """Let nodes share the records of what they come from, instead of copying them.

    Every node of every graph keeps its ancestors (ExecuTorch numbers debug handles by
    the first), and torch copies the whole chain for each descendant. Nothing alters
    a record once it is made.
    """
    from torch.fx import traceback

    def without_depth(copy: ModuleType) -> SimpleNamespace:
        return SimpleNamespace(copy=copy.copy, deepcopy=copy.copy)

    with replaced(traceback, "copy", without_depth):
        yield


@contextmanager
def code_on_demand() -> Iterator[None]:
    """Generate a graph module's Python code when it is called, not at each edit.

    Lowering interprets graphs and never calls most of them.
    """
    from torch.fx import GraphModule
    from torch.fx.graph import _PyTreeCodeGen

    def postpone(recompile: Callable[[Any], Any]) -> Callable[[Any], None]:
        def forward(module: Any, *args: Any, **kwargs: Any) -> Any:
            recompile(module)
            return module.forward(*args, **kwargs)

        def postponed(module: Any) -> None:
            if isinstance(module._graph._codegen, _PyTreeCodeGen):
                module._in_spec = module._graph._codegen.pytree_info.in_spec
                module._out_spec = module._graph._codegen.pytree_info.out_spec
            module._code = "# not generated: nothing has called this module"
            type(module).forward = forward

        return postponed

    with replaced(GraphModule, "recompile", postpone):
        yield


@contextmanager
def signature_listed_once() -> Iterator[None]:
    """List a program's parameters once for a partitioner, not anew for each question.

    It asks of every node whether it is a parameter, and each time the signature
    goes through all of them: the number of layers squared. Partitioners only read.
    """
    from executorch.exir.backend.partitioner import Partitioner
    from torch.export import ExportGraphSignature

    listed: dict[tuple[int, str], Any] | None = None

    def remember(name: str) -> Callable[[property], property]:
        def make(original: property) -> property:
            def get(signature: Any) -> Any:
                if listed is None:
                    return original.__get__(signature)
                key = (id(signature), name)
                if key not in listed:
                    listed[key] = original.__get__(signature)
                return listed[key]

            return property(get)

        return make

    def read_only(partition: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def partition_read_only(self: Any, program: Any) -> Any:
            nonlocal listed
            listed = {}
            try:
                return partition(self, program)
            finally:
                listed = None

        return partition_read_only

    names = ("inputs_to_parameters", "inputs_to_buffers", "inputs_to_lifted_tensor_constants")
    with ExitStack() as stack:
        stack.enter_context(replaced(Partitioner, "__call__", read_only))
        for name in names:
            stack.enter_context(replaced(ExportGraphSignature, name, remember(name)))
        yield


@contextmanager
def cycles_seen_at_once() -> Iterator[None]:
    """Refuse a merge of two partitions by the bits of what depends on them.

    The partitioner tries every pair, and looks for a cycle node by node through
    everything downstream: nearly all of its time, as nearly all pairs have one.
    Whether sets of nodes meet is one operation on integers with a bit per node. A
    pair that passes is still examined by the partitioner itself.
    """
    from executorch.exir.backend.canonical_partitioners.group_partitioner import (
        GroupBasedPartitioner,
    )

    def refuse_early(can_merge: Callable[..., bool]) -> Callable[..., bool]:
        def can_merge_by_bits(self: Any, first: int, second: int, partitions: Any) -> bool:
            if not hasattr(self, "_bits"):
                self._bits = _DependencyBits(self.graph_module.graph)
            nodes = [*partitions[first].nodes, *partitions[second].nodes]
            return not self._bits.cyclic(nodes) and can_merge(self, first, second, partitions)

        return can_merge_by_bits

    with replaced(GroupBasedPartitioner, "_can_merge_partitions", refuse_early):
        yield


class _DependencyBits:
    """Which nodes use a node, at once and in the end, as integers with a bit per node."""

    def __init__(self, graph: "torch.fx.Graph") -> None:
        self._bit = {node: 1 << number for number, node in enumerate(graph.nodes)}
        self._users: dict[torch.fx.Node, int] = {}
        self._below: dict[torch.fx.Node, int] = {}
        for node in reversed(graph.nodes):
            self._users[node] = self._any(self._bit, node.users)
            self._below[node] = self._users[node] | self._any(self._below, node.users)
        self._by_number = list(self._below.values())[::-1]

    def cyclic(self, nodes: "list[torch.fx.Node]") -> bool:
        """Whether something outside of `nodes` uses them and is used by them in the end."""
        inside = self._any(self._bit, nodes)
        outside = self._any(self._users, nodes) & ~inside
        while outside:
            number = outside.bit_length() - 1
            if self._by_number[number] & inside:
                return True
            outside ^= 1 << number
        return False

    @staticmethod
    def _any(bits: "Mapping[torch.fx.Node, int]", nodes: "Iterable[torch.fx.Node]") -> int:
        union = 0
        for node in nodes:
            union |= bits[node]
        return union


@contextmanager
def garbage_collected_seldom() -> Iterator[None]:
    """Look for garbage in cycles a hundred times less often.

    Lowering makes millions of objects, few of them garbage, and Python looks through
    all of them again and again.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(100 * thresholds[0], *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


@contextmanager
def graphs_let_go() -> Iterator[None]:
    """Keep ExecuTorch from holding on to graphs that it is done with.

    A partitioner notes the last node that it refused, for a log that we hold back,
    and a comparison of nodes remembers all that it saw. Both last as long as the
    process: with a node they keep its graph, and with this a program's constants.
    """
    from executorch.exir.backend import utils

    def forget(_note: Callable[..., None]) -> Callable[..., None]:
        return lambda *_args, **_options: None

    forget_comparisons = utils.is_same_node.cache_clear
    with replaced(utils.WhyNoPartition, "__call__", forget):
        try:
            yield
        finally:
            forget_comparisons()
