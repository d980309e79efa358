"""Reading GGUF files: metadata at once, tensors one by one.

The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md,
versions 2 and 3, little-endian. The gguf package decodes quantized blocks; its own
reader is not used, because it makes several array views per metadata element and
takes 12 s for a tokenizer of 49,000 tokens where this takes 0.1 s.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ptefoundry.base.fields import unsupported
from ptefoundry.errors import CheckpointError

if TYPE_CHECKING:
    import torch

_MAGIC = b"GGUF"
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""GGUF's value types as struct formats."""

_FLOATS = {"F32": "F32", "F16": "F16", "BF16": "BF16"}
_QUANTIZED = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")
_DEFAULT_ALIGNMENT = 32
_CHUNK_BYTES = 4 << 20
"""Quantized bytes that are decoded at a time; decoding needs several times as much."""


@dataclass(frozen=True)
class GgufTensor:
    """A tensor's entry in a GGUF file."""

    name: str
    kind: str
    """GGML type name, such as F16 or Q4_K."""
    shape: tuple[int, ...]
    """Row-major, as torch has it; the file says it in reverse."""
    offset: int
    """Of its data in the file, in bytes."""
    nbytes: int

    @property
    def dtype(self) -> str:
        """The dtype that reading it gives: its own, or F32 where it is quantized."""
        return _FLOATS.get(self.kind, "F32")


class GgufFile:
    """An open GGUF file's metadata and tensors."""

    def __init__(self, path: Path) -> None:
        """Read metadata and the list of tensors.

        Raises:
            CheckpointError: not a complete GGUF file of version 2 or 3, or a tensor
                has a type that is not supported.
        """
        self.path = path
        try:
            with path.open("rb") as file:
                self.metadata, entries = _Parser(file, path.stat().st_size).parse()
        except (OSError, ValueError, struct.error) as error:
            raise CheckpointError(
                f"{path}: expected a complete GGUF file, version 2 or 3 ({error}); get it again"
            ) from error
        self.tensors = {entry.name: self._checked(entry) for entry in entries}

    def read(self, tensor: GgufTensor) -> "torch.Tensor":
        """The tensor's values, decoded to `tensor.dtype`."""
        import torch

        from ptefoundry.base.canonical import torch_dtype

        result = torch.empty(tensor.shape, dtype=torch_dtype(tensor.dtype))
        with self.path.open("rb") as file:
            file.seek(tensor.offset)
            if tensor.kind in _FLOATS:
                file.readinto(result.view(torch.uint8).numpy())
            else:
                _decode(file, tensor, result)
        return result

    def read_raw(self, tensor: GgufTensor) -> bytes:
        """The tensor's bytes as they are stored."""
        with self.path.open("rb") as file:
            file.seek(tensor.offset)
            return file.read(tensor.nbytes)

    def _checked(self, tensor: GgufTensor) -> GgufTensor:
        if tensor.kind not in _FLOATS and tensor.kind not in _QUANTIZED:
            supported = ", ".join((*_FLOATS, *_QUANTIZED))
            raise unsupported(self.path, f"type of {tensor.name}", tensor.kind, supported)
        return tensor


def _decode(file: BinaryIO, tensor: GgufTensor, result: "torch.Tensor") -> None:
    """Decode quantized rows from the file's position into `result`."""
    import numpy
    import torch
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    rows = result.view(-1, tensor.shape[-1])
    row_bytes = tensor.nbytes // len(rows)
    step = max(1, _CHUNK_BYTES // row_bytes)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        data = numpy.frombuffer(file.read(len(part) * row_bytes), numpy.uint8)
        values = dequantize(data.reshape(len(part), -1), GGMLQuantizationType[tensor.kind])
        part.copy_(torch.from_numpy(values))


class _Parser:
    """Reads the header; raises ValueError where the bytes make no sense."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def parse(self) -> tuple[dict[str, Any], list[GgufTensor]]:
        magic, version = self._bytes(4), self._number("I")
        if magic != _MAGIC or version not in (2, 3):
            raise ValueError(f"found magic {magic!r} and version {version}")
        tensor_count, field_count = self._count(), self._count()
        metadata = {}
        for _ in range(field_count):
            name = self._string()
            if name in metadata:
                raise ValueError(f"the field {name} stands there twice")
            metadata[name] = self._value(self._number("I"))
        entries = [self._entry() for _ in range(tensor_count)]
        if len({name for name, *_ in entries}) != len(entries):
            raise ValueError("two tensors have the same name")
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0:
            raise ValueError(f"an alignment of {alignment!r}")
        start = -(-self._file.tell() // alignment) * alignment
        return metadata, [self._placed(entry, start) for entry in entries]

    def _entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        dimensions = self._number("I")
        if not 0 < dimensions <= 4:
            raise ValueError(f"{name} has {dimensions} dimensions")
        shape = tuple(reversed([self._number("Q") for _ in range(dimensions)]))
        return name, shape, self._number("I"), self._number("Q")

    def _placed(self, entry: tuple[str, tuple[int, ...], int, int], start: int) -> GgufTensor:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name, shape, kind_id, offset = entry
        kind = GGMLQuantizationType(kind_id)  # ValueError where there is no such type
        block, block_bytes = GGML_QUANT_SIZES[kind]
        if not all(shape) or shape[-1] % block:
            raise ValueError(f"{name} of type {kind.name} has the shape {list(shape)}")
        nbytes = math.prod(shape) // block * block_bytes
        if start + offset + nbytes > self._size:
            raise ValueError(f"the data of {name} ends beyond the file")
        return GgufTensor(name, kind.name, shape, start + offset, nbytes)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        raise ValueError(f"unknown value type {kind}")

    def _array(self) -> list[Any]:
        kind, count = self._number("I"), self._count()
        if kind == _STRING:
            return [self._string() for _ in range(count)]
        if kind not in _SCALARS:
            raise ValueError(f"unknown array element type {kind}")
        layout = f"<{count}{_SCALARS[kind]}"
        return list(struct.unpack(layout, self._bytes(struct.calcsize(layout))))

    def _string(self) -> str:
        return self._bytes(self._count()).decode("utf-8")

    def _count(self) -> int:
        count: int = self._number("Q")
        if count > self._size:
            raise ValueError(f"a count of {count} in a file of {self._size} bytes")
        return count

    def _number(self, layout: str) -> Any:
        return struct.unpack(f"<{layout}", self._bytes(struct.calcsize(f"<{layout}")))[0]

    def _bytes(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise ValueError("the file ends in its header")
        return data
