"""How a program's constant follows from a canonical tensor, as named functions.

A template's map names the encoding of each slot, so that linking needs to know
nothing else of how a tensor is stored.
"""

from collections.abc import Callable, Iterator

from ptefoundry.raw_tensors import RawTensors

Encoding = Callable[[RawTensors, str], Iterator[bytes]]
"""Yields a slot's bytes in pieces, given a file and the name of a tensor in it."""


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


ENCODINGS: dict[str, Encoding] = {"fp32": encode_fp32}
