"""Filling an adapter's matrices up with zeros to the ranks of a shared template.

Zero rows of A and zero columns of B add nothing to x@A^T@B^T, so a program for
higher ranks or for more linears computes the same adapter, at the cost of what it
stores and multiplies.

The runtime keeps packed matrices by their bytes and not by their shape, for all
programs in memory. So a matrix of nothing but zeros, an untrained one too, has its
number of rows in the signs of its first zeros, and differs from those of as many
elements but other rows.
"""

from collections.abc import Mapping

from ptefoundry.lowering.template import Slot

_FP32_BYTES = 4
_MINUS_ZERO = b"\x00\x00\x00\x80"


def unpadded_shape(slot: Slot, modules: Mapping[str, int]) -> tuple[int, int] | None:
    """Shape of an adapter's own matrix for a slot; None where it has none.

    Args:
        slot: of an adapter; its shape is [rank, in] for `lora_a`, [out, rank] for `lora_b`.
        modules: the adapter's rank by canonical path.
    """
    path, matrix = slot.source.rsplit(".", 1)
    rank = modules.get(path)
    if rank is None:
        return None
    rows, columns = slot.shape
    return (rank, columns) if matrix == "lora_a" else (rows, rank)


def pad_matrix(data: bytes, shape: tuple[int, int] | None, into: tuple[int, ...]) -> bytes:
    """An fp32 matrix in the upper left corner of a larger one of zeros.

    Args:
        data: row by row; empty where `shape` is None.
        shape: rows and columns of `data`.
        into: rows and columns of the result, no fewer.
    """
    if shape == into:
        return data
    rows, columns = into
    row_bytes = columns * _FP32_BYTES
    if shape is None:
        return bytes(rows * row_bytes)
    own = shape[1] * _FP32_BYTES
    zeros = bytes(row_bytes - own)
    padded = b"".join(data[at : at + own] + zeros for at in range(0, len(data), own))
    return padded + bytes((rows - shape[0]) * row_bytes)


def is_zeros(data: bytes) -> bool:
    """Whether an fp32 matrix has nothing but zeros, of any sign."""
    # Ends at the first byte that no zero has; what it lets pass is looked at by place.
    return not data.strip(_MINUS_ZERO) and not any(
        data[at::_FP32_BYTES].strip(b"\x00") for at in range(_FP32_BYTES - 1)
    )


def mark_zeros(data: bytes, shape: tuple[int, ...]) -> bytes:
    """The same matrix, if it has nothing but zeros with its number of rows in their signs.

    Args:
        data: fp32, row by row.
        shape: rows and columns.
    """
    if not is_zeros(data):
        return data
    digits = reversed(f"{shape[0]:b}")
    signs = (_MINUS_ZERO if digit == "1" else bytes(_FP32_BYTES) for digit in digits)
    return b"".join(signs).ljust(len(data), b"\x00")
