"""Reading canonical safetensors files in pieces, without torch.

The header tells where each tensor's bytes are; they are read when asked for, so
that memory does not depend on the size of the file.
"""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptefoundry.errors import InputError

ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""Bytes of one element by safetensors' dtype name."""

_PIECE_BYTES = 8 << 20


@dataclass(frozen=True)
class RawTensor:
    """What the header says of a tensor; `offset` and `size` are bytes in the file."""

    dtype: str
    """One of `ITEM_BYTES`."""
    shape: tuple[int, ...]
    offset: int
    size: int


@contextmanager
def open_tensors(path: Path, error: type[InputError]) -> "Iterator[RawTensors]":
    """Open a safetensors file and read its header.

    Args:
        path: the file.
        error: raised where the file is missing, cut or malformed.
    """
    try:
        file = path.open("rb")
    except OSError as missing:
        raise error(
            f"{path}: expected a safetensors file, found none ({missing.strerror}); "
            "convert it again"
        ) from missing
    with file:
        yield RawTensors(path, file.fileno(), error)


class RawTensors:
    """The tensors of an open safetensors file; may be read by several threads at once."""

    def __init__(self, path: Path, descriptor: int, error: type[InputError]) -> None:
        """Read the header; see `open_tensors`."""
        self.path = path
        self._descriptor = descriptor
        self._error = error
        self.tensors = self._read_header()

    def pieces(self, name: str) -> Iterator[bytes]:
        """The stored bytes of a tensor, in order, some megabytes at a time."""
        tensor = self.tensors[name]
        at, end = tensor.offset, tensor.offset + tensor.size
        while at < end:
            piece = os.pread(self._descriptor, min(end - at, _PIECE_BYTES), at)
            if not piece:
                raise self._broken(f"found its end at {at}, inside of {name}")
            at += len(piece)
            yield piece

    def _read_header(self) -> dict[str, RawTensor]:
        size = os.fstat(self._descriptor).st_size
        length = int.from_bytes(os.pread(self._descriptor, 8, 0), "little")
        if 8 + length > size:
            raise self._broken(f"found a header of {length} bytes in {size}")
        try:
            header = json.loads(os.pread(self._descriptor, length, 8))
            header.pop("__metadata__", None)
            tensors = {
                name: self._parse(name, fields, 8 + length) for name, fields in header.items()
            }
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise self._broken(f"found another header ({error!r})") from error
        end = max((tensor.offset + tensor.size for tensor in tensors.values()), default=8 + length)
        if end != size:
            raise self._broken(f"found {size} bytes where its header needs {end}")
        return tensors

    def _parse(self, name: str, fields: Any, data: int) -> RawTensor:
        dtype, shape = fields["dtype"], tuple(int(length) for length in fields["shape"])
        begin, end = (int(offset) for offset in fields["data_offsets"])
        if dtype not in ITEM_BYTES:
            raise self._broken(f"found dtype {dtype} of {name}; supported: {', '.join(ITEM_BYTES)}")
        if begin < 0 or end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
            raise self._broken(f"found {end - begin} bytes of {name} for {dtype} {list(shape)}")
        return RawTensor(dtype, shape, data + begin, end - begin)

    def _broken(self, found: str) -> InputError:
        return self._error(
            f"{self.path}: expected a complete safetensors file, {found}; convert it again"
        )
