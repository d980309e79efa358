"""How a program's constant follows from a canonical tensor, as named functions.

A template's map names the encoding of each slot, so that linking needs to know
nothing else of how a tensor is stored. Names are `fp32` and `fp16`, for embedding tables of
integers `embedding <bits>,<group> weight` and `embedding <bits>,<group> scales`, for
linears of integers `linear 8da<bits>w,<group> weight` and `linear 8da<bits>w,<group> scales`.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

from ptefoundry.errors import CheckpointError
from ptefoundry.lowering.segments import SCALES_PREFIX
from ptefoundry.raw_tensors import RawTensors
from ptefoundry.schemes import LinearScheme, describe_overflow

if TYPE_CHECKING:
    import torch

Encoding = Callable[[RawTensors, str], Iterator[bytes]]
"""Yields a slot's bytes in pieces, given a file and the name of a tensor in it."""
Part = Literal["weight", "scales"]

FP32, FP16 = "fp32", "fp16"
_EMBEDDING = re.compile(r"embedding ([48]),(0|[1-9][0-9]*) (weight|scales)")
_LINEAR = re.compile(r"linear 8da([48])w,(0|[1-9][0-9]*) (weight|scales)")
_BLOCK_BYTES = 1 << 20
"""Of fp32 rows that are quantized at a time; quantizing takes many times as much."""


def find_encoding(name: str) -> Encoding | None:
    """The function of a name, None if there is none."""
    if name == FP32:
        return encode_fp32
    if name == FP16:
        return encode_fp16
    if match := _EMBEDDING.fullmatch(name):
        bits, group, part = match.groups()
        return partial(encode_embedding, bits=int(bits), group=int(group), part=part)
    if match := _LINEAR.fullmatch(name):
        bits, group, part = match.groups()
        return partial(encode_linear, bits=int(bits), group=int(group), part=part)
    return None


def key_prefix(name: str) -> str:
    """What stands before the sha256 in the keys that XNNPACK gives to a slot's bytes."""
    match = _LINEAR.fullmatch(name)
    return SCALES_PREFIX if match and match[3] == "scales" else ""


def split_part(name: str) -> tuple[str, str] | None:
    """The encoding that a tensor of integers and its scales share, and which of the two it is.

    None for an encoding that makes one tensor.
    """
    match = _EMBEDDING.fullmatch(name) or _LINEAR.fullmatch(name)
    return (name.removesuffix(f" {match[3]}"), match[3]) if match else None


def encode_parts(tensors: RawTensors, name: str, shared: str) -> Iterator[dict[str, bytes]]:
    """Integers and scales of a tensor in blocks, both at once: making them is what takes time.

    Args:
        tensors: file.
        name: of a tensor in it.
        shared: as `split_part` gives it.
    """
    if match := _EMBEDDING.fullmatch(f"{shared} weight"):
        return _embedding_blocks(tensors, name, bits=int(match[1]), group=int(match[2]))
    match = _LINEAR.fullmatch(f"{shared} weight")
    assert match is not None
    return _linear_blocks(tensors, name, bits=int(match[1]), group=int(match[2]))


def embedding_encoding(bits: int, group: int, part: Part) -> str:
    """Name of the encoding of a part of a quantized embedding table."""
    return f"embedding {bits},{group} {part}"


def linear_encoding(scheme: LinearScheme, part: Part) -> str:
    """Name of the encoding of a part of a quantized linear."""
    return f"linear {scheme} {part}"


def encode_fp32(tensors: RawTensors, name: str) -> Iterator[bytes]:
    """Little-endian fp32, exact for each dtype that canonical tensors have."""
    dtype = tensors.tensors[name].dtype
    if dtype == "F32":
        yield from tensors.pieces(name)
        return
    import numpy as np

    for piece in tensors.pieces(name):
        if dtype == "F16":
            yield np.frombuffer(piece, "<f2").astype("<f4").tobytes()
        else:
            # bfloat16 is the upper half of fp32.
            yield (np.frombuffer(piece, "<u2").astype("<u4") << 16).tobytes()


def encode_fp16(tensors: RawTensors, name: str) -> Iterator[bytes]:
    """Little-endian fp16, rounded to nearest even; exact for fp16, almost so for bfloat16.

    Raises:
        CheckpointError: a value is larger than fp16 has.
    """
    import numpy as np

    for piece in encode_fp32(tensors, name):
        single = np.frombuffer(piece, "<f4")
        with np.errstate(over="ignore"):
            half = single.astype("<f2")
        if not np.isfinite(half).all():
            largest = float(np.abs(single).max())
            raise CheckpointError(describe_overflow(f"{tensors.path}: {name}", largest))
        yield half.tobytes()


def encode_embedding(
    tensors: RawTensors, name: str, *, bits: int, group: int, part: str
) -> Iterator[bytes]:
    """Integers or scales of an embedding table, by the code that quantizes the model.

    Each row is quantized on its own, so blocks of rows give the bytes of the whole.
    """
    return (block[part] for block in _embedding_blocks(tensors, name, bits=bits, group=group))


def encode_linear(
    tensors: RawTensors, name: str, *, bits: int, group: int, part: str
) -> Iterator[bytes]:
    """Integers or scales of a linear, by the code that quantizes the model, block by block."""
    return (block[part] for block in _linear_blocks(tensors, name, bits=bits, group=group))


def _embedding_blocks(
    tensors: RawTensors, name: str, *, bits: int, group: int
) -> Iterator[dict[str, bytes]]:
    from ptefoundry.model.embedding import QuantizedEmbedding, quantize_rows

    rows, columns = tensors.tensors[name].shape
    for block in _row_blocks(encode_fp32(tensors, name), rows, columns):
        quantized = QuantizedEmbedding(bits, *quantize_rows(block, bits, group or columns))
        yield {"weight": _stored(quantized.weight), "scales": _stored(quantized.scales)}


def _linear_blocks(
    tensors: RawTensors, name: str, *, bits: int, group: int
) -> Iterator[dict[str, bytes]]:
    from ptefoundry.model.linear import pack_scales, pack_weight, quantize_weight

    scheme = LinearScheme(bits=bits, group=group)
    rows, columns = tensors.tensors[name].shape
    for block in _row_blocks(encode_fp32(tensors, name), rows, columns):
        values, scales = quantize_weight(block, scheme)
        yield {
            "weight": _stored(pack_weight(values, bits)),
            "scales": _stored(pack_scales(scales, bits)),
        }


def _stored(data: "torch.Tensor") -> bytes:
    return bytes(data.contiguous().numpy().tobytes())


def _row_blocks(pieces: Iterator[bytes], rows: int, columns: int) -> "Iterator[torch.Tensor]":
    """Whole rows of an fp32 table [rows, columns], about a megabyte at a time."""
    import torch

    row_bytes, pending = 4 * columns, b""
    for piece in pieces:
        pending += piece
        whole = len(pending) // row_bytes * row_bytes
        if whole:
            data = bytearray(pending[:whole])
            block = torch.frombuffer(data, dtype=torch.float32).view(-1, columns)
            yield from block.split(max(1, _BLOCK_BYTES // row_bytes))
            rows -= whole // row_bytes
        pending = pending[whole:]
    assert rows == 0
    assert not pending
