"""Reading and writing `model.safetensors` one tensor at a time.

The format is an 8-byte little-endian header length, a JSON header padded with
spaces to a multiple of 8, and the tensors' bytes without gaps
(https://github.com/huggingface/safetensors#format). The header is known from
names, dtypes and shapes alone, so it is written first and the tensors follow one
by one: memory stays at about the largest of them. The same tensors give the same
bytes.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ptefoundry.errors import CheckpointError
from ptefoundry.files import atomic_writer
from ptefoundry.report import progress

if TYPE_CHECKING:
    import torch

ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
"""Bytes of one element by safetensors' dtype name: the dtypes that a base may have."""


@dataclass(frozen=True)
class TensorSpec:
    """What a tensor is before its data is read."""

    name: str
    dtype: str
    """One of `ITEM_BYTES`."""
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


def torch_dtype(name: str) -> "torch.dtype":
    """The dtype in torch for one of `ITEM_BYTES`."""
    import torch

    return {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[name]


def write_tensors(
    path: Path, specs: Iterable[TensorSpec], read: Callable[[str], "torch.Tensor"]
) -> None:
    """Write a safetensors file, atomically, with one tensor in memory at a time.

    Args:
        path: the file; replaced only once everything is written.
        specs: all tensors, in the order that the file shall have. Wider elements
            come first whatever the order, so that all data stays aligned.
        read: returns a tensor by name; called once per tensor, in the file's order.

    Raises:
        CheckpointError: a tensor that was read is not what its spec says, or it
            contains NaN or infinity.
    """
    ordered = sorted(specs, key=lambda spec: -ITEM_BYTES[spec.dtype])
    total = sum(spec.nbytes for spec in ordered)
    with atomic_writer(path) as file, progress("weights", total) as advance:
        file.write(_header(ordered))
        for spec in ordered:
            _write_tensor(file, spec, read(spec.name))
            advance(spec.nbytes)


def _header(specs: list[TensorSpec]) -> bytes:
    # transformers only loads files whose metadata names the framework's layout.
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for spec in specs:
        header[spec.name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [offset, offset + spec.nbytes],
        }
        offset += spec.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_tensor(file: BinaryIO, spec: TensorSpec, tensor: "torch.Tensor") -> None:
    import torch

    found = (tensor.dtype, tuple(tensor.shape))
    if found != (torch_dtype(spec.dtype), spec.shape):
        raise CheckpointError(
            f"{spec.name}: expected {spec.dtype} {list(spec.shape)}, "
            f"found {found[0]} {list(found[1])}"
        )
    # The extremes show NaN and infinity in one pass and without a second tensor.
    low, high = torch.aminmax(tensor)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CheckpointError(
            f"{spec.name}: weights contain NaN or infinity; the checkpoint is damaged or "
            "was stored in a type too narrow for it: get it again or take another one"
        )
    file.write(tensor.contiguous().view(torch.uint8).numpy().data)


class TensorFile:
    """A safetensors file whose tensors are read one by one, on request.

    It keeps no file open and no memory mapped: each read maps the file, and the
    mapping goes with the tensor that was returned.
    """

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            CheckpointError: the file is missing or malformed, or has tensors of
                other dtypes than `ITEM_BYTES`.
        """
        self.path = path
        self.specs = {spec.name: spec for spec in self._read_specs()}

    def read(self, name: str) -> "torch.Tensor":
        """The tensor `name`, backed by the file: to be copied before it is changed."""
        with _opened(self.path) as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor

    def _read_specs(self) -> Iterator[TensorSpec]:
        with _opened(self.path) as file:
            for name in file.keys():  # noqa: SIM118  not a mapping
                part = file.get_slice(name)
                dtype = part.get_dtype()
                if dtype not in ITEM_BYTES:
                    raise CheckpointError(
                        f"{self.path}: {name}: found dtype {dtype}; supported: "
                        f"{', '.join(ITEM_BYTES)} (take the unquantized checkpoint)"
                    )
                yield TensorSpec(name, dtype, tuple(part.get_shape()))


@contextmanager
def _opened(path: Path) -> "Iterator[Any]":
    import safetensors

    try:
        with safetensors.safe_open(path, "pt") as file:
            yield file
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path}: expected a complete safetensors file ({error}); get it again"
        ) from error
