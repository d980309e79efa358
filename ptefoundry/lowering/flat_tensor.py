"""Laying out a `.ptd` as ExecuTorch's FlatTensorSerializer does, from sizes alone.

The FlatBuffer comes from the wheel's own flatc and schema, so that it has the
very bytes of an export, and neither torch nor ExecuTorch need be imported.
Sources: `extension/flat_tensor/serialize/serialize.py`, `flat_tensor_header.h`.
"""

import json
import struct
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.lowering.segments import Segment, TensorLayout
from ptefoundry.process import run
from ptefoundry.wheel import executorch_folder

_SEGMENT_ALIGNMENT = 128
_HEADER = struct.Struct("<4sIQQQQ")
_HEADER_BYTES = 48
"""The header with its padding to the FlatBuffer's alignment of 16."""
_MAGIC_END = 8


@dataclass(frozen=True)
class DataKey:
    """A key of a `.ptd` and the number of its segment."""

    key: str
    segment: int
    layout: TensorLayout | None


@dataclass(frozen=True)
class DataLayout:
    """The beginning of a `.ptd`, padded to its first segment, and where the segments are."""

    head: bytes
    segments: tuple[Segment, ...]
    """Offsets in the file; what is between two is zero."""


def lay_out(keys: Sequence[DataKey], sizes: Iterable[int]) -> DataLayout:
    """Lay out a `.ptd`.

    Args:
        keys: in their order.
        sizes: bytes of each segment.

    Raises:
        MissingToolError: ExecuTorch is not installed.
        BuildError: flatc failed.
    """
    segments, end = [], 0
    for size in sizes:
        begin = _aligned(end, _SEGMENT_ALIGNMENT)
        segments.append(Segment(begin, size))
        end = begin + size
    flatbuffer = _serialize(keys, segments)
    base = _aligned(len(flatbuffer) + _HEADER_BYTES, _SEGMENT_ALIGNMENT)
    header = _HEADER.pack(b"FH01", _HEADER.size, _HEADER_BYTES, len(flatbuffer), base, end)
    # The header goes between the FlatBuffer's identifier and the rest, which moves the root.
    root = int.from_bytes(flatbuffer[:4], "little") + _HEADER_BYTES
    head = root.to_bytes(4, "little") + flatbuffer[4:_MAGIC_END]
    head += header.ljust(_HEADER_BYTES, b"\0") + flatbuffer[_MAGIC_END:]
    moved = (Segment(base + segment.offset, segment.size) for segment in segments)
    return DataLayout(head.ljust(base, b"\0"), tuple(moved))


def _serialize(keys: Iterable[DataKey], segments: Iterable[Segment]) -> bytes:
    wheel = executorch_folder()
    content = {
        "version": 0,
        "segments": [{"offset": segment.offset, "size": segment.size} for segment in segments],
        "named_data": [_describe(key) for key in keys],
    }
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "flat_tensor.json")
        source.write_text(json.dumps(content))
        schema = wheel / "extension" / "flat_tensor" / "serialize" / "flat_tensor.fbs"
        run([wheel / "data" / "bin" / "flatc", "--binary", "-o", name, schema, source])
        return source.with_suffix(".ptd").read_bytes()


def _describe(key: DataKey) -> dict[str, object]:
    layout = key.layout and {
        "scalar_type": key.layout.scalar_type,
        "sizes": key.layout.sizes,
        "dim_order": key.layout.dim_order,
    }
    return {"key": key.key, "segment_index": key.segment, "tensor_layout": layout}


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
