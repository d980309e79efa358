"""The shortcuts that compiling takes through torch and ExecuTorch.

None changes a byte of what is compiled: tests compare with and without each, and
the benchmark of compiling does on the demo's model. They replace functions that are
nobody's interface, so they belong to the versions that we pin: a name that is gone
is an error, and what is replaced is put back.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

from ptefoundry.lowering.graph_upkeep import (
    code_on_demand,
    cycles_seen_at_once,
    garbage_collected_seldom,
    graphs_let_go,
    shared_provenance,
    signature_listed_once,
)
from ptefoundry.lowering.retracing import decomposing_once, known_values_reused

if TYPE_CHECKING:
    from executorch.exir.backend.partitioner import Partitioner

Shortcut = Callable[[list["Partitioner"]], AbstractContextManager[None]]

SHORTCUTS: Mapping[str, Shortcut] = {
    "decomposing_once": decomposing_once,
    "known_values_reused": lambda _: known_values_reused(),
    "shared_provenance": lambda _: shared_provenance(),
    "code_on_demand": lambda _: code_on_demand(),
    "signature_listed_once": lambda _: signature_listed_once(),
    "cycles_seen_at_once": lambda _: cycles_seen_at_once(),
    "garbage_collected_seldom": lambda _: garbage_collected_seldom(),
    "graphs_let_go": lambda _: graphs_let_go(),
}


@contextmanager
def shortcuts(
    partitioners: list["Partitioner"], names: Iterable[str] = tuple(SHORTCUTS)
) -> Iterator[None]:
    """Export and lower faster inside this context, in one thread.

    Args:
        partitioners: those that the program will be lowered with.
        names: keys of `SHORTCUTS`.

    Raises:
        BuildError: torch or ExecuTorch are other versions than ours.
    """
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(SHORTCUTS[name](partitioners))
        yield
