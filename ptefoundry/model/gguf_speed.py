"""Making transformers' GGUF loader fast, without changing what it computes.

transformers and the gguf package do some things many times over; for SmolLM2-135M
that is three quarters of the loading time:

- the file is parsed once for the configuration and once for the tensors;
- parsing makes a view of a `numpy.memmap` for each part of the metadata, 490,000 for
  a tokenizer of 49,000 tokens, and a memmap's view costs several times an array's;
- all that a tokenizer consists of becomes Python values, twice, of which a model needs
  the number of tokens alone;
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

TOKENIZER_FIELDS = tuple(f"tokenizer.ggml.{name}" for name in ("merges", "scores", "token_type"))
"""Metadata that no model needs; `tokens` is counted where there is no `vocab_size`."""


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
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            for name in TOKENIZER_FIELDS:
                self.fields.pop(name, None)

        @property
        def data(self) -> "numpy.ndarray[Any, Any]":
            return self._data

        @data.setter
        def data(self, mapped: "numpy.ndarray[Any, Any]") -> None:
            # The view keeps the mapping alive.
            self._data: numpy.ndarray[Any, Any] = mapped.view(numpy.ndarray)

    return ArrayReader
