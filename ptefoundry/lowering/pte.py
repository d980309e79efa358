"""Reading `.pte` files: methods, operators, delegates and the data that they need."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.flatbuffer import Buffer, Table
from ptefoundry.lowering.segments import (
    FileKind,
    Layout,
    NamedData,
    PlacedKey,
    map_file,
    open_layout,
    read_named_data,
    read_placed_key,
)

# Field numbers of tables in ExecuTorch's program.fbs.
_PTE = FileKind(
    what="an ExecuTorch program (.pte)",
    identifier=b"ET12",
    header_magic=b"eh00",
    header_format="QQQ",  # size of the FlatBuffer with this header, start and size of segments
    segments_field=4,
)
_PROGRAM_PLANS, _PROGRAM_INLINE_DATA, _PROGRAM_NAMED_DATA = 1, 3, 7
_PLAN_NAME, _PLAN_VALUES, _PLAN_OUTPUTS, _PLAN_CHAINS = 0, 2, 4, 5
_PLAN_OPERATORS, _PLAN_DELEGATES, _PLAN_BUFFER_SIZES = 6, 7, 8
_CHAIN_INSTRUCTIONS = 2
_VALUE_TYPE, _VALUE = 0, 1
_INT, _BOOL, _DOUBLE, _TENSOR, _STRING = 2, 3, 4, 5, 6
_TENSOR_EXTRA, _EXTRA_NAME, _EXTRA_LOCATION, _EXTERNAL = 9, 1, 2, 1
_DELEGATE_ID, _DELEGATE_DATA, _DATA_LOCATION, _DATA_INDEX = 0, 1, 0, 1

# The XNNPACK delegate's payload: XNNHeader, and XNNGraph of runtime_schema.fbs.
_XNNPACK_MAGIC = b"XH00"
_XNNPACK_CONSTANTS, _CONSTANT_KEY = 8, 2

Constant = int | bool | float | str


@dataclass(frozen=True)
class Delegate:
    """One delegated partition: its backend, payload and the keys that it loads."""

    backend: str
    payload: memoryview
    placed_keys: tuple[PlacedKey, ...]

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return len(self.payload)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the tensors that it loads."""
        return tuple(placed.key for placed in self.placed_keys)


@dataclass(frozen=True)
class Method:
    """One entry point."""

    name: str
    constants: tuple[Constant, ...]
    """What a method without instructions returns; metadata of the program."""
    integers_at: tuple[int, ...]
    """Byte offsets of the integers among them, int64; those that are 0 stand nowhere."""
    operators: tuple[str, ...]
    delegates: tuple[Delegate, ...]
    external: tuple[str, ...]
    """Names of undelegated tensors that come from a data file."""
    planned_bytes: int
    """Memory planned for activations and mutable buffers."""

    @property
    def needs(self) -> frozenset[str]:
        """Every key that must be found in the program or in a data file."""
        keys = (key for delegate in self.delegates for key in delegate.keys)
        return frozenset((*self.external, *keys))


@dataclass(frozen=True)
class Program:
    """What a `.pte` holds."""

    path: Path
    size: int
    methods: tuple[Method, ...]
    entries: tuple[NamedData, ...]
    """Named data inside the program, for instance an adapter's matrices."""

    @property
    def needs(self) -> frozenset[str]:
        """Keys that the methods load and that are not in the program itself."""
        own = {entry.key for entry in self.entries}
        return frozenset().union(*(method.needs for method in self.methods)) - own

    @property
    def constants(self) -> dict[str, tuple[Constant, ...]]:
        """Metadata: constant method -> what it returns."""
        return {method.name: method.constants for method in self.methods if method.constants}

    @property
    def entry_points(self) -> tuple[str, ...]:
        """Names of the methods that compute something."""
        return tuple(method.name for method in self.methods if not method.constants)


def read_pte(path: Path) -> Program:
    """Read a `.pte`.

    Raises:
        ArtifactError: it is missing, cut, or no such file.
    """
    data = map_file(path)
    layout = open_layout(path, data, _PTE)
    methods = tuple(_read_method(layout, plan) for plan in layout.root.tables(_PROGRAM_PLANS))
    return Program(path, len(data), methods, read_named_data(layout, _PROGRAM_NAMED_DATA))


def _read_method(layout: Layout, plan: Table) -> Method:
    values = list(plan.tables(_PLAN_VALUES))
    computes = any(chain.vector_size(_CHAIN_INSTRUCTIONS) for chain in plan.tables(_PLAN_CHAINS))
    returned = [] if computes else list(_outputs(layout, plan, values))
    operators = {_operator_name(table) for table in plan.tables(_PLAN_OPERATORS)}
    return Method(
        name=plan.string(_PLAN_NAME),
        constants=tuple(one for value in returned if (one := _constant(value)) is not None),
        integers_at=tuple(at for value in returned if (at := _integer_at(value)) is not None),
        operators=tuple(sorted(operators)),
        delegates=tuple(_read_delegate(layout, table) for table in plan.tables(_PLAN_DELEGATES)),
        external=tuple(sorted(set(_external_names(values)))),
        planned_bytes=sum(plan.integers(_PLAN_BUFFER_SIZES, "q")),
    )


def _operator_name(table: Table) -> str:
    overload = table.string(1)
    return f"{table.string(0)}.{overload}" if overload else table.string(0)


def _outputs(layout: Layout, plan: Table, values: list[Table]) -> Iterator[Table]:
    for index in plan.integers(_PLAN_OUTPUTS, "i"):
        if not 0 <= index < len(values):
            raise ArtifactError(
                f"{layout.path}: expected output {index} of method {plan.string(_PLAN_NAME)!r} "
                f"among {len(values)} values; the file is altered, build or fetch it again"
            )
        yield values[index]


def _constant(value: Table) -> Constant | None:
    kind, table = value.integer(_VALUE_TYPE, "B"), value.table(_VALUE)
    if table is None:
        return None
    if kind == _INT:
        return table.integer(0, "q")
    if kind == _BOOL:
        return bool(table.integer(0, "B"))
    if kind == _DOUBLE:
        return float(table.integer(0, "d"))
    return table.string(0) if kind == _STRING else None


def _integer_at(value: Table) -> int | None:
    table = value.table(_VALUE)
    is_integer = value.integer(_VALUE_TYPE, "B") == _INT and table is not None
    return table.scalar_at(0) if is_integer and table else None


def _external_names(values: list[Table]) -> Iterator[str]:
    for value in values:
        table = value.table(_VALUE)
        if value.integer(_VALUE_TYPE, "B") != _TENSOR or table is None:
            continue
        extra = table.table(_TENSOR_EXTRA)
        if extra is not None and extra.integer(_EXTRA_LOCATION, "b") == _EXTERNAL:
            yield extra.string(_EXTRA_NAME)


def _read_delegate(layout: Layout, table: Table) -> Delegate:
    backend = table.string(_DELEGATE_ID)
    payload = _payload(layout, table)
    keys = _xnnpack_keys(payload) if backend == "XnnpackBackend" else ()
    return Delegate(backend, payload.data, keys)


def _payload(layout: Layout, delegate: Table) -> Buffer:
    name = f"{layout.path} (XNNPACK payload)"
    reference = delegate.table(_DELEGATE_DATA)
    if reference is None:
        return Buffer(memoryview(b""), name)
    index = reference.integer(_DATA_INDEX, "I")
    if reference.integer(_DATA_LOCATION, "b"):
        return Buffer(layout.segment(index), name, layout.segments[index].offset)
    inline = list(layout.root.tables(_PROGRAM_INLINE_DATA))
    if index >= len(inline):
        raise ArtifactError(
            f"{layout.path}: expected inline delegate data {index}, found {len(inline)}; "
            "the file is altered, build or fetch it again"
        )
    at = inline[index].string_at(0)
    if at is None:
        return Buffer(memoryview(b""), name)
    return Buffer(inline[index].buffer.slice(*at), name, at[0])


def _xnnpack_keys(payload: Buffer) -> tuple[PlacedKey, ...]:
    """Keys that an XNNPACK payload loads its constants by."""
    magic = bytes(payload.data[4:8])
    if magic != _XNNPACK_MAGIC:
        raise ArtifactError(
            f"{payload.name}: expected the magic {_XNNPACK_MAGIC.decode()}, found {magic!r}; "
            "the file is altered, build or fetch it again"
        )
    start, size = payload.number("I", 10), payload.number("I", 14)
    graph = Buffer(payload.slice(start, size), payload.name, payload.start + start).root()
    keys = (read_placed_key(table, _CONSTANT_KEY) for table in graph.tables(_XNNPACK_CONSTANTS))
    return tuple(placed for placed in keys if placed.key)
