"""Programs (`.pte`) and data files (`.ptd`) as regions that can be compared."""

import struct
from collections.abc import Iterator
from pathlib import Path

from ptefoundry.lowering.ptd import read_ptd
from ptefoundry.lowering.pte import Method, read_pte
from ptefoundry.lowering.segments import NamedData, map_file
from ptefoundry.rebuild.difference import Region

PROGRAM_IDENTIFIER, DATA_IDENTIFIER = b"ET12", b"FT01"
"""Bytes 4 to 8 of a `.pte` and of a `.ptd`."""
#: Where in the file the extended header says at which byte the data segments begin.
_SEGMENTS_AT = {PROGRAM_IDENTIFIER: 24, DATA_IDENTIFIER: 32}


def program_regions(path: Path) -> list[Region]:
    """Methods by part, keys of named data, and the FlatBuffer.

    Raises:
        ArtifactError: the file cannot be read.
    """
    program = read_pte(path)
    methods = (region for method in program.methods for region in _method_regions(method))
    flatbuffer = Region(
        name="flatbuffer of the program", data=_before_segments(path, PROGRAM_IDENTIFIER)
    )
    return [*methods, *_key_regions(program.entries), flatbuffer]


def data_regions(path: Path) -> list[Region]:
    """Tensors by key, and the FlatBuffer that lists them.

    Raises:
        ArtifactError: the file cannot be read.
    """
    entries = read_ptd(path).entries
    flatbuffer = Region(
        name="flatbuffer of the data file", data=_before_segments(path, DATA_IDENTIFIER)
    )
    return [*_key_regions(entries), flatbuffer]


def _method_regions(method: Method) -> Iterator[Region]:
    facts = {
        "constants": method.constants,
        "operators": method.operators,
        "external tensors": method.external,
        "planned memory": method.planned_bytes,
    }
    for what, value in facts.items():
        yield Region(name=f"method {method.name}: {what}", data=repr(value).encode())
    for index, delegate in enumerate(method.delegates):
        name = f"method {method.name}: {delegate.backend} partition {index}"
        yield Region(name=name, data=delegate.payload)


def _key_regions(entries: tuple[NamedData, ...]) -> Iterator[Region]:
    """Equal tensors are stored once: such a region has all their keys."""
    by_segment: dict[int, list[NamedData]] = {}
    for entry in entries:
        by_segment.setdefault(entry.segment, []).append(entry)
    for sharing in by_segment.values():
        keys = ", ".join(entry.key for entry in sharing)
        yield Region(name=f"tensor {keys}", data=sharing[0].blob.data)


def _before_segments(path: Path, identifier: bytes) -> memoryview:
    """The FlatBuffer with its headers: all before the data segments."""
    data = map_file(path)
    (end,) = struct.unpack_from("<Q", data, _SEGMENTS_AT[identifier])
    return data[:end]
