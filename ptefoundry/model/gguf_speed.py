"""Making transformers' GGUF loader fast, without changing what it computes.

transformers and the gguf package do some things many times over; for SmolLM2-135M
that is three quarters of the loading time:

- the file is parsed once for the configuration and once for the tensors;
- parsing makes a view of a `numpy.memmap` for each part of the metadata, 490,000 for
  a tokenizer of 49,000 tokens, and a memmap's view costs several times an array's;
- the table of tensor names, the same for the whole model, is made for each module.

Decoding, renaming and permuting of tensors stay transformers' own.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gguf
    import numpy


@contextmanager
def fast_gguf() -> Iterator[None]:
    """Parse each GGUF file and make each table of names once while this is open.

    The files must not change meanwhile. transformers looks both up in `gguf` at each
    call, so they are replaced there; not for use in several threads.
    """
    import gguf

    reader, name_map = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader = functools.cache(_array_reader())
    gguf.get_tensor_name_map = functools.cache(name_map)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = reader, name_map


def _array_reader() -> "type[gguf.GGUFReader]":
    """The reader of gguf over a plain array of the mapped bytes instead of a memmap."""
    import gguf
    import numpy

    class ArrayReader(gguf.GGUFReader):
        @property
        def data(self) -> "numpy.ndarray[Any, Any]":
            return self._data

        @data.setter
        def data(self, mapped: "numpy.ndarray[Any, Any]") -> None:
            # The view keeps the mapping alive.
            self._data: numpy.ndarray[Any, Any] = mapped.view(numpy.ndarray)

    return ArrayReader
