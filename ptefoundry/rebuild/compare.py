"""Comparing two folders file by file, and naming what differs in a file."""

import filecmp
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.segments import map_file
from ptefoundry.rebuild import elf
from ptefoundry.rebuild.difference import Difference, Region, compare_bytes, compare_regions
from ptefoundry.rebuild.executorch_files import (
    DATA_IDENTIFIER,
    PROGRAM_IDENTIFIER,
    data_regions,
    program_regions,
)
from ptefoundry.rebuild.json_fields import compare_json
from ptefoundry.rebuild.safetensors_file import safetensors_regions

_BY_SUFFIX: Mapping[str, Callable[[Path], list[Region]]] = {".safetensors": safetensors_regions}
_BY_IDENTIFIER: Mapping[tuple[int, bytes], Callable[[Path], list[Region]]] = {
    (4, PROGRAM_IDENTIFIER): program_regions,
    (4, DATA_IDENTIFIER): data_regions,
    (0, elf.IDENTIFIER): elf.elf_regions,
}


def list_files(folder: Path) -> set[str]:
    """Relative POSIX paths of all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def compare_files(
    expected: Path, found: Path, names: Iterable[str], *, prefix: str = ""
) -> list[Difference]:
    """Compare the named files of two folders byte by byte.

    Args:
        expected: folder of what must come out.
        found: folder of what came out.
        names: relative paths; a file may be missing on either side.
        prefix: stands before the names in the differences.
    """
    differences: list[Difference] = []
    for name in sorted(names):
        one, other, label = expected / name, found / name, prefix + name
        if not one.is_file() or not other.is_file():
            differences.append(_lone(label, one, other))
        elif not filecmp.cmp(one, other, shallow=False):
            differences += compare_contents(label, one, other)
    return differences


def compare_contents(label: str, expected: Path, found: Path) -> list[Difference]:
    """What differs between two files that do: parts of them, or where nothing is known, bytes."""
    try:
        named = _compare_parts(label, expected, found)
    except ArtifactError as error:
        named = []
        unreadable = f"; its parts cannot be told: {error}"
    else:
        unreadable = ""
    if named:
        return named
    whole = compare_bytes(label, "", _read(expected), _read(found))
    assert whole is not None
    return [
        Difference(path=label, section="", bytes=whole.bytes, detail=f"{whole.detail}{unreadable}")
    ]


def _compare_parts(label: str, expected: Path, found: Path) -> list[Difference]:
    if expected.suffix == ".json":
        return list(compare_json(label, expected.read_bytes(), found.read_bytes()))
    read = _reader(expected)
    if read is None:
        return []
    return list(compare_regions(label, read(expected), read(found)))


def _reader(path: Path) -> Callable[[Path], list[Region]] | None:
    if path.suffix in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix]
    with path.open("rb") as file:
        start = file.read(8)
    for (at, identifier), read in _BY_IDENTIFIER.items():
        if start[at : at + len(identifier)] == identifier:
            return read
    return None


def _read(path: Path) -> bytes | memoryview:
    return map_file(path) if path.stat().st_size else b""


def _lone(label: str, expected: Path, found: Path) -> Difference:
    path, detail = (expected, "missing") if expected.is_file() else (found, "not expected")
    size = path.stat().st_size if path.is_file() else 0
    return Difference(path=label, section="", bytes=size, detail=detail)
