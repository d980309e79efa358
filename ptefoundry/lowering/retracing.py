"""Running a model's operators less often on its way to a program, with the same bytes.

This is what compiling spends most of its time on: each operator runs on tensors
without data, through several layers of dispatch, and every size is a formula in
the sequence's length. ExecuTorch does it fifteen times for the whole model, mostly
to find that a pass has nothing to change.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ptefoundry.lowering.patching import replaced

if TYPE_CHECKING:
    import torch
    from executorch.exir.backend.partitioner import Partitioner
    from torch.export import ExportedProgram


@contextmanager
def decomposing_once(partitioners: "list[Partitioner]") -> Iterator[None]:
    """Make a program functional and decompose its operators in one trace instead of three.

    ExecuTorch first traces with no decompositions, then with all but those of the
    operators that a partitioner wants whole, then with all while these are hidden.
    Here the first trace decomposes all that no partitioner wants. A later one is left
    out if there is nothing to decompose: no operator of its table is in the graph but
    those that were in the first table too, and outlived it.
    """
    from torch.export import ExportedProgram

    def trace_once(trace: Callable[..., "ExportedProgram"]) -> Callable[..., "ExportedProgram"]:
        outlived: WeakKeyDictionary[torch.fx.Graph, set[Any]] = WeakKeyDictionary()

        def run_decompositions(
            program: "ExportedProgram", table: dict[Any, Any] | None = None, **options: Any
        ) -> "ExportedProgram":
            if table is None:
                return trace(program, **options)
            if program.graph in outlived:
                in_table = _targets(program).intersection(table)
                if in_table <= outlived[program.graph]:
                    return program
                return trace(program, table, **options)
            if table:
                return trace(program, table, **options)
            first = _table_without(partitioners, program)
            traced = trace(program, first, **options)
            outlived[traced.graph] = _targets(traced).intersection(first)
            return traced

        return run_decompositions

    with replaced(ExportedProgram, "run_decompositions", trace_once):
        yield


def _table_without(partitioners: "list[Partitioner]", program: "ExportedProgram") -> dict[Any, Any]:
    """ExecuTorch's decompositions, less those of operators that a partitioner takes whole."""
    from executorch.exir.program import _program

    table = _program._default_decomposition_table()
    for partitioner in partitioners:
        wanted, _ = partitioner.ops_to_not_decompose(program)
        for operator in _program._remove_invalid_ops_for_not_decompose(wanted):
            table.pop(operator, None)
    return dict(table)


def _targets(program: "ExportedProgram") -> set[Any]:
    return {node.target for node in program.graph.nodes if node.op == "call_function"}


@contextmanager
def known_values_reused() -> Iterator[None]:
    """Let a pass take an operator's result from the graph instead of running it again.

    A pass replays the whole graph to rewrite a few operators. Where it asks for the
    operator of the node that it reads, on values like that node's, the result is like
    the one that the node holds: these tensors have shapes, but no data.
    """
    from executorch.exir.pass_base import _ExportPassBase
    from torch._export.pass_base import _ExportPassBaseDeprecatedDoNotUse

    with ExitStack() as stack:
        for base in (_ExportPassBase, _ExportPassBaseDeprecatedDoNotUse):
            stack.enter_context(replaced(base.ExportInterpreter, "run_node", _noting_the_node))
            stack.enter_context(replaced(base, "_fx", _reusing_its_value))
        yield


def _noting_the_node(run_node: Callable[..., Any]) -> Callable[..., Any]:
    def noting(interpreter: Any, node: "torch.fx.Node") -> Any:
        interpreter.callback._replayed = node
        return run_node(interpreter, node)

    return noting


def _reusing_its_value(run: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a pass's `_fx`, which runs an operator and adds it to the new graph."""

    def run_or_reuse(self: Any, kind: str, target: Any, args: Any, kwargs: Any, meta: Any) -> Any:
        node = getattr(self, "_replayed", None)
        if node is None or not _is_replay(node, kind, target, args, kwargs):
            return run(self, kind, target, args, kwargs, meta)
        interpreter = self.interpreter
        self.interpreter = _Known(node.meta["val"])
        try:
            return run(self, kind, target, args, kwargs, meta)
        finally:
            self.interpreter = interpreter

    return run_or_reuse


class _Known:
    """Stands for an interpreter that has run the operator."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def call_function(self, _target: Any, _args: Any, _kwargs: Any) -> Any:
        return self._value


def _is_replay(node: "torch.fx.Node", kind: str, target: Any, args: Any, kwargs: Any) -> bool:
    """Whether a pass asks for just what the node says."""
    return (
        kind == node.op == "call_function"
        and node.meta.get("val") is not None
        and (target is node.target or getattr(target, "_op", target) is node.target)
        and _same(args, node.args)
        and _same(kwargs, node.kwargs)
    )


def _same(asked: Any, there: Any) -> bool:
    import torch

    if isinstance(asked, (list, tuple)):
        return (
            isinstance(there, (list, tuple))
            and len(asked) == len(there)
            and all(map(_same, asked, there))
        )
    if isinstance(asked, dict):
        return (
            isinstance(there, dict)
            and asked.keys() == there.keys()
            and all(_same(value, there[key]) for key, value in asked.items())
        )
    if isinstance(there, torch.fx.Node):
        if there.op == "get_attr":
            return asked is getattr(there.graph.owning_module, str(there.target), there)
        return hasattr(asked, "proxy") and _same_value(asked.data, there.meta.get("val"))
    return type(asked) is type(there) and bool(asked == there)


def _same_value(value: Any, known: Any) -> bool:
    """Whether values are the same, or tensors without data that nothing can tell apart."""
    import torch
    from torch._subclasses import FakeTensor

    if value is known:
        return value is not None
    if isinstance(known, FakeTensor) and value is known.constant:
        return value is not None
    if isinstance(value, FakeTensor) and isinstance(known, FakeTensor):
        return _description(value) == _description(known)
    if isinstance(value, torch.SymInt) and isinstance(known, torch.SymInt):
        return bool(value.node.expr == known.node.expr)
    return False


def _description(tensor: "torch.Tensor") -> tuple[Any, ...]:
    import torch

    sizes = (*tensor.shape, *tensor.stride(), tensor.storage_offset())
    plain = tuple(size.node.expr if isinstance(size, torch.SymInt) else size for size in sizes)
    return (plain, tensor.dtype, tensor.device, tensor.layout, tensor.requires_grad)
