"""Data segments and named data, which PTE and PTD files hold alike.

Both are a FlatBuffer with an extended header after its first 8 bytes, and data
segments behind it; named data gives a segment a key. Sources: ExecuTorch's
`program.fbs`, `flat_tensor.fbs`, `extended_header.cpp`, `flat_tensor_header.cpp`.
"""

import mmap
import re
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ptefoundry.digest import hash_bytes
from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.flatbuffer import Buffer, Table

_HEADER_AT = 8

SCALES_PREFIX = "scale_"
"""Stands before the sha256 where XNNPACK names the scales of a quantized tensor."""
_CONTENT_KEY = re.compile(rf"(?:{SCALES_PREFIX})?([0-9a-f]{{64}})")


@dataclass(frozen=True)
class Segment:
    """Where a data segment is: byte offset in the file and size in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class Layout:
    """An opened file: its FlatBuffer and its data segments."""

    path: Path
    data: memoryview
    root: Table
    segments: tuple[Segment, ...]

    def segment(self, index: int) -> memoryview:
        """The bytes of a segment.

        Raises:
            ArtifactError: there is no such segment.
        """
        if not 0 <= index < len(self.segments):
            raise ArtifactError(
                f"{self.path}: expected segment {index}, found {len(self.segments)} segments; "
                "the file is altered, build or fetch it again"
            )
        segment = self.segments[index]
        return self.data[segment.offset : segment.offset + segment.size]


@dataclass(frozen=True)
class FileKind:
    """What tells PTE and PTD apart: magics, header fields, FlatBuffer field numbers."""

    what: str
    identifier: bytes
    header_magic: bytes
    header_format: str
    """struct format of the extended header after its magic and length."""
    segments_field: int


@dataclass(frozen=True)
class PlacedKey:
    """A key and the byte offset in the file at which its text stands."""

    key: str
    at: int


@dataclass(frozen=True)
class TensorLayout:
    """What a data file tells of a tensor: ExecuTorch's number of its dtype, and its shape."""

    scalar_type: int
    sizes: tuple[int, ...]
    dim_order: tuple[int, ...]


@dataclass(frozen=True)
class Blob:
    """The bytes of a data segment, hashed when first asked for."""

    data: memoryview

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex."""
        return hash_bytes(self.data)


@dataclass(frozen=True)
class NamedData:
    """One key of a file and the bytes that it stands for."""

    placed_key: PlacedKey
    segment: int
    offset: int
    """Byte offset of the data in the file."""
    blob: Blob
    layout: TensorLayout | None

    @property
    def key(self) -> str:
        """The name that programs ask for."""
        return self.placed_key.key

    @property
    def size(self) -> int:
        """Bytes of the data."""
        return len(self.blob.data)

    @property
    def digest(self) -> str:
        """SHA-256 of the data in hex; keys of one segment share it."""
        return self.blob.digest


def content_digest(key: str) -> str | None:
    """The sha256 that a key says its bytes have; None for a key that is a name."""
    match = _CONTENT_KEY.fullmatch(key)
    return match[1] if match else None


def map_file(path: Path) -> memoryview:
    """A file's bytes, mapped read-only for as long as views of them are in use.

    Raises:
        ArtifactError: the file is missing or empty.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise ArtifactError(f"{path}: expected a PTE or PTD file, found an empty file")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise ArtifactError(f"{path}: expected a file, found none ({error.strerror})") from error


def open_layout(path: Path, data: memoryview, kind: FileKind) -> Layout:
    """Check a file's magics and lengths and find its segments.

    Raises:
        ArtifactError: it is not such a file, or it is cut.
    """
    if bytes(data[4:8]) != kind.identifier:
        raise ArtifactError(
            f"{path}: expected {kind.what} (identifier {kind.identifier.decode()}), "
            f"found {bytes(data[4:8])!r}"
        )
    size, base, total = _extended_header(path, data, kind)
    if base + total > len(data) or size > len(data):
        raise ArtifactError(
            f"{path}: expected {max(base + total, size)} bytes, found {len(data)}; "
            "the file is cut, build or fetch it again"
        )
    buffer = Buffer(data[:size], str(path))
    root = buffer.root()
    segments = tuple(
        _segment(path, table, base, total) for table in root.tables(kind.segments_field)
    )
    return Layout(path, data, root, segments)


def _extended_header(path: Path, data: memoryview, kind: FileKind) -> tuple[int, int, int]:
    """(bytes of the FlatBuffer, start of the segments, bytes of the segments)."""
    try:
        magic, _length = struct.unpack_from("<4sI", data, _HEADER_AT)
        *start, size, base, total = struct.unpack_from(
            "<" + kind.header_format, data, _HEADER_AT + 8
        )
    except struct.error as error:
        raise ArtifactError(
            f"{path}: expected {kind.what}, found only {len(data)} bytes"
        ) from error
    if magic != kind.header_magic:
        raise ArtifactError(
            f"{path}: expected an extended header {kind.header_magic.decode()}, found {magic!r}; "
            "files without data segments are not supported"
        )
    return size + sum(start), base, total


def _segment(path: Path, table: Table, base: int, total: int) -> Segment:
    offset, size = table.integer(0, "Q"), table.integer(1, "Q")
    if offset + size > total:
        raise ArtifactError(
            f"{path}: expected a segment inside the {total} bytes of data, "
            f"found one of {size} at {offset}; the file is altered, build or fetch it again"
        )
    return Segment(base + offset, size)


def read_named_data(layout: Layout, field: int) -> tuple[NamedData, ...]:
    """All keys of a file with their bytes, in file order."""
    blobs: dict[int, Blob] = {}
    found = []
    for table in layout.root.tables(field):
        index = table.integer(1, "I")
        if index not in blobs:
            blobs[index] = Blob(layout.segment(index))
        found.append(
            NamedData(
                placed_key=read_placed_key(table, 0),
                segment=index,
                offset=layout.segments[index].offset,
                blob=blobs[index],
                layout=_tensor_layout(table.table(2)),
            )
        )
    return tuple(found)


def read_placed_key(table: Table, number: int) -> PlacedKey:
    """A string field and where in the file its text stands; an absent one is empty, at 0."""
    place = table.string_at(number)
    if place is None:
        return PlacedKey("", 0)
    return PlacedKey(table.buffer.text(*place), table.buffer.start + place[0])


def _tensor_layout(table: Table | None) -> TensorLayout | None:
    if table is None:
        return None
    sizes, order = table.integers(1, "i"), table.integers(2, "B")
    return TensorLayout(table.integer(0, "b"), tuple(sizes), tuple(order))
